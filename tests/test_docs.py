"""Every command block of the README and the pages runs as it stands."""

import functools
import json
import os
import re
import shutil
import subprocess
import sys

import pytest
import torch
import yaml
from conftest import REPOSITORY
from hub.server import HubServer
from safetensors.torch import load_file
from support import forked
from support.adapters import make_adapter
from support.checkpoints import make_checkpoint
from support.programs import why_none_can_be_run

README = REPOSITORY / "README.md"
PAGES = [README, *sorted((REPOSITORY / "docs").glob("*.md"))]

#: Run elsewhere: the installation in test_installation.py, the make targets by .ci/run and by hand; or by a person.
ELSEWHERE = {"pip install wise-merge", "make demo", "make test", "hf auth login"}


def blocks(page, language):
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE)


def commands(page):
    """Each command of the page's shell blocks, continuation lines joined."""
    for block in blocks(page, "sh"):
        yield from (line for line in block.replace("\\\n", " ").splitlines() if line.strip())


ALL_COMMANDS = [(page, command) for page in PAGES for command in commands(page) if command not in ELSEWHERE]


#: Of the tasks that the pages name, besides GSM8K: config, and rows of each split.
DATA_SETS = {
    "openai/openai_humaneval": (
        "openai_humaneval",
        {
            "test": [
                {
                    **{
                        "task_id": f"HumanEval/{number}",
                        "entry_point": "add",
                        "canonical_solution": "    return a + b\n",
                    },
                    "prompt": f'def add(a, b):\n    """Add, {number}.\n\n    >>> add(2, 3)\n    5\n    """\n',
                    "test": "def check(candidate):\n    assert candidate(1, 1) == 2\n",
                }
                for number in range(2)
            ]
        },
    ),
    "google-research-datasets/mbpp": (
        "full",
        {
            "test": [
                {
                    **{"task_id": number, "text": f"Double a number, {number}.", "code": "def double(n): return 2 * n"},
                    "test_list": [f"assert double({n}) == {2 * n}" for n in range(3)],
                }
                for number in range(2)
            ]
        },
    ),
    "Idavidrein/gpqa": (
        "gpqa_diamond",
        {
            "train": [
                {
                    **{"Question": f"How much is {n} + 1?", "Correct Answer": str(n + 1)},
                    **{f"Incorrect Answer {wrong}": str(n + 1 + wrong) for wrong in (1, 2, 3)},
                }
                for n in range(2)
            ]
        },
    ),
    "TIGER-Lab/MMLU-Pro": (
        "default",
        {
            split: [
                {
                    **{"question": f"How much is {n} + 1 ({split})?", "options": ["1", "2"], "answer": "AB"[n]},
                    **{"answer_index": n, "category": "math", "cot_content": f"A: It is {n + 1}.", "question_id": n},
                }
                for n in (0, 1, 0, 1, 0)
            ]
            for split in ("test", "validation")
        },
    ),
    "google/IFEval": (
        "default",
        {
            "train": [
                {
                    **{"key": key, "prompt": f"Write a line without a comma, {key}."},
                    **{"instruction_id_list": ["punctuation:no_comma"], "kwargs": [{}]},
                }
                for key in range(2)
            ]
        },
    ),
}


def leave_data_set(folder, config, splits):
    """Leave what `datasets` loads under a name while the Hub is out of reach."""
    folder.mkdir(parents=True)
    files = ""
    for split, rows in splits.items():
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        files += f"  - split: {split}\n    path: {split}.jsonl\n"
    (folder / "README.md").write_text(f"---\nconfigs:\n- config_name: {config}\n  data_files:\n{files}---\n")


@pytest.fixture(scope="module")
def workplace(tmp_path_factory):
    """A folder as a reader may have it: the README's recipe, its checkpoints, GSM8K, a merged model."""
    folder = tmp_path_factory.mktemp("reader")
    (folder / "wise.yml").write_text(blocks(README, "yaml")[0])
    make_checkpoint(folder / "runs/sft/checkpoint-25", seed=1)
    make_checkpoint(folder / "runs/sft/checkpoint-600", seed=2)
    for seed, step in enumerate((200, 300, 400, 500, 600), start=3):
        make_checkpoint(folder / f"runs/soup/checkpoint-{step}", seed=seed)
    for seed, step in ((6, 25), (7, 600)):
        make_checkpoint(folder / f"runs/sft-seed2/checkpoint-{step}", seed=seed)
    make_checkpoint(folder / "base", seed=3)
    make_checkpoint(folder / "runs/rl/checkpoint-300", seed=6)
    for number, step in ((4, 25), (5, 600)):
        make_adapter(folder / "runs" / "lora" / f"checkpoint-{step}", folder / "base", seed=number)
    rows = [{"question": f"What is {i} + {i}?", "answer": f"{i} + {i} = {2 * i}\n#### {2 * i}"} for i in range(1, 5)]
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / "gsm8k.jsonl").write_text(lines)
    held_out = [{"prompt": row["question"], "completion": f" {row['answer']}"} for row in rows]
    (folder / "held_out.jsonl").write_text("".join(json.dumps(row) + "\n" for row in held_out))
    for name, (config, splits) in DATA_SETS.items():
        leave_data_set(folder / name, config, splits)
    leave_data_set(folder / "openai" / "gsm8k", "main", {"test": rows})
    run("mergekit-yaml wise.yml out/", folder)
    return folder


@pytest.fixture(scope="module")
def hub():
    """The Hub as far as a push needs it, with the user of the pages."""
    with HubServer(user="anna", token="hf_of_anna") as hub:
        yield hub


def run(command, folder, **environment):
    paths = [stand_ins(), forked.SCRIPTS, os.environ["PATH"]]
    done = subprocess.run(
        ["bash", "-c", command],
        cwd=folder,
        env={**os.environ, "PATH": os.pathsep.join(map(str, paths)), **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@functools.cache
def stand_ins():
    """Where a shell finds the scripts, for most of them to be forked."""
    return forked.stand_ins(forked.server() / "bin")


@pytest.mark.parametrize(("page", "command"), ALL_COMMANDS, ids=lambda value: getattr(value, "name", None))
def test_the_command_runs_as_it_stands(page, command, workplace, hub, tmp_path):
    """Typed as in the text; evaluations are only cut to two problems and eight new tokens."""
    if '"execute"' in command and (reason := why_none_can_be_run()):
        pytest.skip(reason)
    if "lm_eval " in command:
        command += " --limit 2 --device cpu --gen_kwargs max_gen_toks=8"
    if "wise-merge sweep" in command or "wise-merge soup" in command:
        # Half of them choose, the other half confirms.
        command += " --limit 4 --device cpu --gen_kwargs max_gen_toks=8"
    output = run(command, workplace, **(hub.environment(tmp_path) if "wise-merge push" in command else {}))
    if "lm_eval " in command:
        assert "pass@32" in output
    if "wise-merge push" in command and "--dry-run" not in command:
        assert output.splitlines()[-1] == f"{hub.endpoint}/anna/sft-wise-ft"
        assert {"README.md", "model.safetensors", "pass_at_k.png"} <= set(hub.files("anna/sft-wise-ft"))


def test_the_first_commands_are_the_ones_that_are_tested():
    """The three lines on the first screen, word for word."""
    assert blocks(README, "sh")[0].splitlines() == [
        "pip install wise-merge",
        "mergekit-yaml wise.yml out/",
        "lm_eval --model hf-passk --model_args pretrained=out --tasks gsm8k_passk",
    ]


def test_the_recipes_of_the_pages_merge(workplace, tmp_path):
    """Every YAML block that names a merge method is a recipe that works, and so is a block of parameters."""
    recipes = [block for page in PAGES for block in blocks(page, "yaml")]
    assert len(recipes) >= 3
    for _, command in ALL_COMMANDS:
        # What the recipes name, unless the tests of the commands have made it already.
        makes_a_file = "signature extract" in command or "fit fisher" in command
        if makes_a_file and not (workplace / command.split()[-1]).exists():
            run(command, workplace)
    for number, block in enumerate(recipes):
        text = block
        if "merge_method" not in text:
            text = re.sub(r"^parameters:.*", "", blocks(README, "yaml")[0], flags=re.DOTALL | re.MULTILINE) + block
        (workplace / f"recipe{number}.yml").write_text(text)
        run(f"mergekit-yaml recipe{number}.yml {tmp_path}/out{number}", workplace)


@pytest.mark.parametrize("example", sorted((REPOSITORY / "examples").glob("*.yml")), ids=lambda path: path.name)
def test_the_commands_of_the_example_run(example, workplace, tmp_path):
    """Every recipe in examples/ merges by the commands at its head, on runs laid out like the README's."""
    shutil.copytree(workplace / "runs", tmp_path / "runs")
    shutil.copytree(workplace / "base", tmp_path / "base")
    shutil.copy(workplace / "held_out.jsonl", tmp_path)
    (tmp_path / "examples").symlink_to(example.parent)
    commands = re.findall(r"^#   (\S.*)$", example.read_text(), re.MULTILINE)
    assert commands
    for command in commands:
        run(command, tmp_path)
    # What comes before makes the files that the recipe names.
    merges = [command for command in commands if command.startswith(("wise-merge merge", "mergekit-yaml"))]
    written = {path.parent for path in tmp_path.glob("out*/**/config.json")}
    assert len(written) == (9 if "--alphas" in commands[0] else len(merges))
    assert all((folder / "model.safetensors").is_file() for folder in written)
    if len(merges) == 2:
        same = [load_file(tmp_path / name / "model.safetensors") for name in ("out", "out-by-mergekit")]
        assert all(torch.equal(tensor, same[1][name]) for name, tensor in same[0].items())


def test_the_examples_of_sweeps_are_what_they_are_for(workplace):
    """The file of a sweep passes all checks; the scripts around it are of their languages and call it."""
    folder = REPOSITORY / "examples" / "sweeps"
    checked = run(f"wise-merge sweep {folder}/sweep.yml --out grid-of-example --check", workplace)
    assert "36 points of 9 models, 32 samples per problem of gsm8k_passk" in checked
    checked = run(f"wise-merge sweep {folder}/grid.yml --out grid-over-a-recipe --check", workplace)
    assert "weight of checkpoint-400 0, 0.5, 1, 1.5, 2 x weight of checkpoint-500 0, 0.5" in checked
    assert "27 points of 27 models, 32 samples per problem of gsm8k_passk" in checked
    checked = run(f"wise-merge soup {folder}/soup_search.yml --out soup-of-example --check", workplace)
    assert "greedy soup for pass@8 with pass@1 >= best of 4 checkpoints of 2 runs" in checked
    run(f"bash -n {folder}/slurm.sh", workplace)
    (job,) = yaml.safe_load_all((folder / "kubernetes.yml").read_text())
    assert job["kind"] == "RayJob"
    assert "wise-merge sweep sweep.yml" in job["spec"]["entrypoint"]
    assert "wise-merge sweep examples/sweeps/sweep.yml" in (folder / "slurm.sh").read_text()


def test_the_python_of_the_pages_runs_without_the_start_up_file(workplace, tmp_path):
    """The explicit way registers by itself."""
    (block,) = blocks(REPOSITORY / "docs/startup-file.md", "python")
    script = tmp_path / "explicit.py"
    script.write_text(block.replace('"out"', '"explicit"'))
    run(f"{sys.executable} {script}", workplace, WISE_MERGE_AUTOLOAD="0")
    assert (workplace / "explicit" / "config.json").is_file()


def test_the_pages_of_the_commands_are_up_to_date():
    """docs/commands is what `make docs` writes from the live --help."""
    script = REPOSITORY / "docs" / "write_command_pages.py"
    subprocess.run([sys.executable, script, "--check"], check=True)


def test_links_between_pages_lead_somewhere():
    """Every relative link of README and pages names a file of the repository."""
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_the_wheel_and_the_repository_know_one_version():
    """CHANGELOG names the version of the package first."""
    from wise_merge import __version__

    first = re.search(r"^## (\S+)", (REPOSITORY / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert first
    assert first[1] == __version__
