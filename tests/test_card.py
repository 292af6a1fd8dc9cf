"""The model card: what it says is in the data, what the Hub reads of it is valid, and what a person wrote stays."""

import dataclasses
import io
import json
import random
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import yaml
from click.testing import CliRunner
from huggingface_hub import ModelCard
from lm_eval._cli.harness import HarnessCLI
from matplotlib.colors import to_rgb
from matplotlib.image import imread
from support.merges import merge
from support.points import EARLY, LATE, TASK, grid, leave, merged_of, of_verdicts, outcome
from support.recipes import wise_ft

from wise_merge.cli import main
from wise_merge.figures.drawing import COLOURS
from wise_merge.points import Coordinate, Point, PointCheckpoint, on_line
from wise_merge.publish.card import BEGIN, END
from wise_merge.publish.entries import RESULTS
from wise_merge.publish.evidence import SHOWN
from wise_merge.publish.figure import draw
from wise_merge.publish.of_sweep import evidence_of_sweep
from wise_merge.publish.privacy import Privacy
from wise_merge.publish.sampling import sampling_commands

SOURCES = ("--source", "early=anna/run@step-25", "--source", "late=anna/run@step-800")


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    """An empty folder from where the command is called."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def model(recipe=None, folder="out", **record):
    """What the folder of a merged model has beside its weights."""
    out = Path(folder)
    out.mkdir()
    (out / "config.json").write_text('{"architectures": ["LlamaForCausalLM"], "dtype": "float32"}')
    (out / "mergekit_config.yml").write_text(yaml.safe_dump(recipe or grid()[1].recipe(), sort_keys=False))
    if record:
        (out / "wise_merge.json").write_text(json.dumps(record))
    return out


def card(*options, out="out"):
    """Run `wise-merge card`, and return the text of the card."""
    done = CliRunner().invoke(main, ["card", out, *map(str, options)])
    assert done.exit_code == 0, done.output
    return (Path(out) / "README.md").read_bytes().decode()


def refused(*options):
    """Run `wise-merge card`, and return the one line in which it says why it does not write."""
    before = Path("out/README.md").read_bytes()
    done = CliRunner().invoke(main, ["card", "out", *map(str, options)])
    assert done.exit_code == 1
    assert Path("out/README.md").read_bytes() == before
    assert {path.name for path in Path("out").iterdir()} == {"README.md", "config.json", "mergekit_config.yml"}
    return done.stderr.strip().splitlines()[-1]


def head(text):
    """The metadata, as huggingface_hub reads them."""
    return ModelCard(text).data.to_dict()


def tables(text):
    """Every table: the cells of each line, by the rule of GitHub and the Hub that `\\|` is no end of a cell."""
    found = []
    for block in re.findall(r"(?:^\|.*\|\n)+", text, flags=re.MULTILINE):
        lines = [re.split(r"(?<!\\)\|", line)[1:-1] for line in block.splitlines()]
        found.append([[cell.strip().strip("*") for cell in line] for line in lines if set("".join(line)) != {"-"}])
        assert len({len(line) for line in lines}) == 1, block
    return found


def block(text, language):
    """The one block of code in a language."""
    (found,) = re.findall(rf"^```{language}\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)
    return found


def prose(text):
    """What the card says, without its metadata, code and the person's part."""
    body = text.split("---\n", 2)[2]
    return re.sub(r"^```.*?^```", "", body, flags=re.MULTILINE | re.DOTALL)


# --- what the Hub reads ---------------------------------------------------------------------------


def test_the_metadata_say_what_the_model_is():
    """As huggingface_hub reads them: parents, relation, library, tags, licence, and the figures."""
    model()
    leave(Path("grid"), grid(), samples=8)
    found = head(card("--results", "grid", *SOURCES, "--license", "mit", "--name", "anna/wise"))
    assert found["base_model"] == ["anna/run"]
    assert (found["base_model_relation"], found["library_name"], found["license"]) == ("merge", "transformers", "mit")
    assert (found["tags"], found["pipeline_tag"]) == (["mergekit", "merge", "wise-ft"], "text-generation")
    (index,) = found["model-index"]
    assert index["name"] == "wise"
    figures = json.loads(Path("out", RESULTS).read_text())["tasks"][TASK][1]["curves"]
    (result,) = index["results"]
    assert [(one["name"], one["value"]) for one in result["metrics"]] == [
        (name, round(figures[curve]["value"][k - 1], 4))
        for name, curve, k in (("pass@1", "pass@k", 1), ("pass@8", "pass@k", 8), ("maj@8", "maj@k", 8))
    ]


def test_two_repositories_are_two_parents_and_a_folder_is_none():
    """The Hub refuses what is no id of a model."""
    model()
    assert head(card("--source", "early=anna/base", "--source", "late=bob/sft@v1"))["base_model"] == [
        *("anna/base", "bob/sft"),
    ]
    assert head(card("--source", "early=anna/base"))["base_model"] == ["anna/base"]
    found = head(card())
    assert "base_model" not in found
    assert "base_model_relation" not in found


def test_licence_and_languages_are_those_of_the_parents():
    """From the cards beside the checkpoints."""
    for one in (EARLY, LATE):
        Path(one.name).mkdir(parents=True)
        Path(one.name, "README.md").write_text("---\nlicense: apache-2.0\nlanguage: [en, no]\n---\n")
    model()
    found = head(card())
    assert (found["license"], found["language"]) == ("apache-2.0", ["en", "no"])


# --- figures --------------------------------------------------------------------------------------


def figure(row, curve, k):
    """A figure of the results file as the card should show it."""
    found = row["curves"][curve]
    if k not in found["k"]:
        return ""
    value, low, high = (found[key][found["k"].index(k)] for key in ("value", "low", "high"))
    return f"{value:.3f}" if low is None else f"{value:.3f} [{low:.3f}, {high:.3f}]"


def test_every_figure_of_the_tables_is_that_of_the_results_file():
    """With n, K and temperature: those of the first temperature on top, and its whole curves."""
    model()
    points = grid(temperatures=(0.7, 1.0))
    leave(Path("grid"), points, [outcome(point, samples=8, problems=20) for point in points])
    text = card("--results", "grid")
    overview, curves, *_ = tables(text)
    rows = json.loads(Path("out", RESULTS).read_text())["tasks"][TASK]
    rows.sort(key=lambda row: (row["temperature"] != 1.0, row["temperature"]))
    assert overview[0] == ["", "T", "problems", "samples of each", "Pass@1", "Pass@8", "Maj@8"]
    assert overview[1:] == [
        [row["role"], f"{row['temperature']:g}", "20", "8"]
        + [figure(row, curve, k) for curve, k in (("pass@k", 1), ("pass@k", 8), ("maj@k", 8))]
        for row in rows
    ]
    assert curves[0] == ["k", *(f"{name}, {role}" for name in ("Pass@k", "Maj@k") for role in SHOWN)]
    assert curves[1:] == [
        [str(k), *(figure(row, curve, k) for curve in ("pass@k", "maj@k") for row in rows[:3])] for k in (1, 2, 4, 8)
    ]
    assert "The curves at T = 1, n = 20 problems" in text
    assert "Completions of up to 16 tokens, 0-shot." in text
    assert "95% interval" in text


def test_models_that_were_sampled_differently_say_so():
    """Fewer samples, fewer problems, a part of the task: no figure stands for more than it is."""
    model()
    points = grid()
    sizes = {0.0: (20, 8, None), 0.5: (10, 2, 10), 1.0: (20, 4, None)}
    made = [
        outcome(point, problems=problems, samples=samples, limit=limit, max_tokens=None)
        for point in points
        for problems, samples, limit in [sizes[point.alpha]]
    ]
    leave(Path("grid"), points, made, num_fewshot=None)
    text = card("--results", "grid")
    overview, curves, *_ = tables(text)
    assert [line[2:4] for line in overview[1:]] == [["20", "8"], ["10", "2"], ["20", "4"]]
    assert [bool(line[5]) for line in overview[1:]] == [True, False, False]
    assert [bool(cell) for cell in curves[-1]] == [True, True, False, False, True, False, False]
    assert "n = 10 to 20 problems" in text
    assert "Not the whole task: only its first problems were sampled of some of these models." in text


def test_a_single_problem_has_no_interval():
    """Nothing is known of others, and "nan" tells nobody so."""
    model()
    points = grid()
    leave(Path("grid"), points, [of_verdicts(point, [[True, False]]) for point in points])
    text = card("--results", "grid")
    assert not re.search(r"\bnan\b", text)
    assert tables(text)[0][2][4:] == ["0.500", "1.000", "0.500"]


def test_tasks_that_were_not_sampled_like_the_others_are_told_of():
    """One at another temperature has its own figures but no curves at the first; one without any is named."""
    model()
    points = grid(temperatures=(0.7, 1.0))
    made = [outcome(point, task="a") for point in points]
    made += [outcome(point, task="b") for point in points if point.temperature == 0.7]
    made += [outcome(point, task="c") for point in points if point.alpha != 0.5]
    leave(Path("grid"), points, made, tasks=("a", "b", "c"))
    text = card("--results", "grid")
    assert [line[1] for line in tables(text)[2][1:]] == ["0.7"] * 3
    assert text.count("<details>") == 1
    assert "The sweep has not sampled this model on c." in text
    assert "--tasks a \\" in block(text, "sh")


def test_nothing_is_claimed_that_is_not_in_the_data():
    """Of a model that is worse than both checkpoints the card says no good, and none of one without figures."""
    model()
    points = grid()
    rates = {0.0: 0.9, 0.5: 0.1, 1.0: 0.9}
    made = []
    for point in points:
        drawn = random.Random(1)
        made.append(of_verdicts(point, [[drawn.random() < rates[point.alpha] for _ in range(4)] for _ in range(30)]))
    leave(Path("grid"), points, made)
    with_figures, without = card("--results", "grid"), card()
    for text in (with_figures, without):
        (found_by_others,) = re.findall(r"\[Dang et al\.\]\(\S+\) found that [^.]*\.", text)
        rest = prose(text).replace(found_by_others, "").replace(BEGIN, "")
        assert not re.search(r"better|best|improve|\bgain|outperform|raise|recover|diverse|diversity|bring", rest)
    assert "How it turned out here is under [Evaluation](#evaluation)." in with_figures
    assert "Of this model, no figures are known." in without


def test_a_card_without_results_has_no_figures():
    """And points to no file that is not there; those of an earlier card go from the metadata."""
    model()
    leave(Path("grid"), grid())
    assert "model-index" in head(card("--results", "grid"))
    text = card()
    assert "model-index" not in head(text)
    for word in ("Evaluation", RESULTS, "pass_at_k.png", "lm_eval --model", "Pass@1 |"):
        assert word not in text.replace(block(text, "bibtex"), "")
    assert "mergekit-yaml mergekit_config.yml out/" in text


def test_links_of_the_card_lead_to_its_files():
    """The picture and the results file stand beside it."""
    out = model()
    leave(Path("grid"), grid())
    links = re.findall(r"\]\(([^)]*)\)", card("--results", "grid"))
    local = {link for link in links if "://" not in link and not link.startswith("#")}
    assert local == {"pass_at_k.png", RESULTS}
    assert all((out / link).is_file() for link in local)


def test_how_it_was_chosen_reads_as_best_wrote_it():
    """In Markdown, two asterisks of an objective would be the ends of an emphasis."""
    model()
    leave(Path("grid"), grid())
    sentences = (
        "Chosen for the largest 0.5*pass@1 + 0.5*pass@4 of 3 points. On the other 6: 0.5*pass@1 + 0.5*pass@4 0.6."
    )
    body = yaml.safe_dump(grid()[1].recipe())
    Path("grid/best.yml").write_text(f"# {sentences}\n# Sample it at temperature 1, as it was chosen.\n{body}")
    text = card("--results", "grid")
    first, second, honest = text.partition("### How it was chosen\n\n")[2].split("\n\n")[:3]
    assert f"{first} {second}".replace(r"\*", "*") == sentences
    assert not re.search(r"(?<!\\)\*", first + second)
    assert "flatter it" in honest


# --- what it is made of ---------------------------------------------------------------------------


def test_what_it_is_made_of_is_in_the_card():
    """Names with links, steps, alpha, dtype, architecture, hashes and versions."""
    record = {
        role: {"step": step, "files": {"model.safetensors": {"sha256": digest * 64}}}
        for role, step, digest in (("early", 25, "e"), ("late", 1200, "a"))
    }
    model(**record, versions={"wise-merge": "0.1.0", "mergekit": "0.1.5"})
    text = card(*SOURCES)
    (made_of,) = tables(text)
    url = "https://huggingface.co/anna/run/tree/step"
    assert made_of == [
        ["", "early", "late"],
        ["model", f"[anna/run@step-25]({url}-25)", f"[anna/run@step-800]({url}-800)"],
        ["step of training", "25", "1,200"],
        ["share", "1 - alpha", "alpha"],
        ["SHA-256 of model.safetensors", f"`{'e' * 64}`", f"`{'a' * 64}`"],
    ]
    for fact in ("alpha: 0.5", "architecture: LlamaForCausalLM", "dtype of the weights: float32"):
        assert f"- {fact}\n" in text
    assert "with alpha = 0.5" in text
    assert "was not published" not in text
    assert "pip install wise-merge==0.1.0 mergekit==0.1.5\n" in block(text, "sh")


def test_bang_shows_what_the_logits_were_divided_by():
    """By which the two checkpoints differ from those of plain averaging; the temperature of sampling is another."""
    early, late = dataclasses.replace(EARLY, temperature=1.1), dataclasses.replace(LATE, temperature=1.62)
    points = grid(late, method="bang", early=early, temperatures=(0.7,))
    model(points[1].recipe())
    leave(Path("grid"), points)
    text = card("--results", "grid")
    assert ["logits divided by", "1.1", "1.62"] in tables(text)[-1]
    assert "[BANG](https://arxiv.org/abs/2309.17230)" in text
    assert head(text)["tags"] == ["mergekit", "merge", "bang"]


def test_alphas_by_layer_are_shown_as_the_recipe_has_them():
    """No single number is claimed."""
    alphas = [{"filter": "mlp", "value": [0, 0.5, 1]}, {"value": 0.25}]
    model({**grid()[1].recipe(), "parameters": {"alpha": alphas}})
    text = card()
    assert "- alpha: by layer or tensor, see below" in text
    assert "alpha = " not in prose(text)
    assert yaml.safe_load(block(text, "yaml"))["parameters"]["alpha"] == alphas


# --- soups ----------------------------------------------------------------------------------------


def soup_of(*names, weights=(1.0, 2.0, 1.0), temperature=1.0):
    """A point that averages checkpoints, as a sweep of `uniform_soup` has it."""
    checkpoints = tuple(PointCheckpoint(name, None, f"{number}" * 32) for number, name in enumerate(names))
    coordinates = tuple(Coordinate("weight", weights[place], place) for place in range(len(names)))
    return Point(checkpoints, "uniform_soup", coordinates, temperature)


def test_a_soup_stands_beside_its_checkpoints():
    """Any number of them: what each counts for, all as parents, and the figures of those that the sweep has sampled."""
    point = soup_of("sft/checkpoint-1", "sft/checkpoint-2", "rl/checkpoint-2")
    model(point.recipe())
    alone = [point.alone(0), dataclasses.replace(soup_of("rl/checkpoint-2"), checkpoints=point.checkpoints[2:])]
    verdicts = [[True, False, number % 2 == 0, True] for number in range(12)]
    made = [of_verdicts(one, verdicts) for one in (point, *alone)]
    leave(Path("grid"), [point, *alone], made)
    text = card("--results", "grid", "--source", "checkpoint-1=anna/run@one", "--source", "rl/checkpoint-2=bob/rl")
    overview, curves, made_of = tables(text)
    assert [line[0] for line in overview[1:]] == ["this model", "model 1", "model 3"]
    assert curves[0][:3] == ["k", "Pass@k, this model", "Pass@k, model 1"]
    assert [line[0] for line in made_of[1:]] == ["model 1", "model 2", "model 3"]
    assert [line[-1] for line in made_of] == ["weight", "1", "2", "1"]
    assert "[Uniform soup](https://arxiv.org/abs/2203.05482) of 3 checkpoints." in text
    assert "Dang" not in prose(text)
    found = head(text)
    assert (found["base_model"], found["tags"]) == (["anna/run", "bob/rl"], ["mergekit", "merge", "uniform-soup"])
    recipe = yaml.safe_load(block(text, "yaml"))
    assert [one["model"] for one in recipe["models"]] == ["anna/run@one", "checkpoint-2", "bob/rl"]
    keys = re.findall(r"^@\w+\{([^,]+),", block(text, "bibtex"), flags=re.MULTILINE)
    assert keys == ["wortsman2022soups", "goddard2024mergekit", "eval-harness"]
    assert "How it was chosen" not in text
    head_of_soup = (
        "# Written by `wise-merge soup`: the mean of sft/checkpoint-1 (step 1), sft/checkpoint-2\n"
        "# Kept in this order, of 3 checkpoints, each for a larger x.\n# On the other 6: pass@8 0.5.\n"
        "# Sample it at temperature 1, as it was chosen.\n"
    )
    Path("grid/soup.yml").write_text(head_of_soup + yaml.safe_dump(point.recipe()))
    _, _, chosen = card("--results", "grid").partition("### How it was chosen\n\n")
    assert chosen.split("\n\n")[:2] == [
        "The mean of anna/run@one (step 1), checkpoint-2. Kept in this order, of 3 checkpoints, each for a larger x.",
        "On the other 6: pass@8 0.5.",
    ]
    # Written again, it knows the names still.
    assert head(card("--results", "grid"))["base_model"] == ["anna/run", "bob/rl"]


def test_checkpoints_with_one_last_part_are_told_apart():
    """No two of them are called alike, and no folder of theirs is named."""
    model(soup_of("sft/checkpoint-2", "rl/checkpoint-2").recipe())
    text = card()
    assert [one["model"] for one in yaml.safe_load(block(text, "yaml"))["models"]] == [
        "checkpoint-2-model-1",
        "checkpoint-2-model-2",
    ]
    assert not re.search("sft/|rl/", text)


def test_another_soup_has_no_figures_here():
    """Other weights are another model; a merge by a method of mergekit is in no sweep."""
    names = ("sft/checkpoint-1", "sft/checkpoint-2")
    leave(Path("grid"), [soup_of(*names)], [of_verdicts(soup_of(*names), [[True]])])
    for recipe, words in (
        (soup_of(*names, weights=(1.0, 1.0)).recipe(), "grid holds no figures of this model: it is uniform_soup of"),
        ({"merge_method": "linear", "models": [{"model": name} for name in names]}, "out is merged by linear"),
    ):
        Path("out").mkdir(exist_ok=True)
        (Path("out") / "config.json").write_text("{}")
        (Path("out") / "mergekit_config.yml").write_text(yaml.safe_dump(recipe))
        done = CliRunner().invoke(main, ["card", "out", "--results", "grid"])
        assert done.exit_code == 1
        assert words in done.stderr


def test_a_source_of_no_checkpoint_is_refused():
    """With what the checkpoints are called; names with one last part are no name of either."""
    model(soup_of("sft/checkpoint-2", "rl/checkpoint-2").recipe())
    for source in ("late=anna/x", "checkpoint-2=anna/x", "sft/checkpoint-2=/no/id"):
        done = CliRunner().invoke(main, ["card", "out", "--source", source])
        assert done.exit_code == 1
        assert "its checkpoints are sft/checkpoint-2, rl/checkpoint-2" in done.stderr


@pytest.mark.parametrize("name", ["a|b", "_checkpoint_", "run*1*", "x|y|z"])
def test_names_do_not_break_tables(name):
    """Whatever a folder is called."""
    Path("sft", name).mkdir(parents=True)
    model(on_line(EARLY, dataclasses.replace(LATE, name=f"sft/{name}"), "wise_ft", 0.5, 1.0).recipe())
    (made_of,) = tables(card())
    assert [cell.replace(r"\|", "|") for cell in made_of[1]] == ["model", "`checkpoint-25`", f"`{name}`"]


def test_an_adapter_that_nobody_has_is_told_of():
    """Its base alone does not make the model again."""
    Path("sft/lora").mkdir(parents=True)
    recipe = on_line(EARLY, dataclasses.replace(LATE, name="org/base+sft/lora"), "wise_ft", 0.5, 1.0).recipe()
    model({**recipe, "base_model": "org/base"})
    text = card()
    assert "[org/base](https://huggingface.co/org/base) + `lora`" in text
    assert "a checkpoint that is named without an organisation was not published" in text
    assert "--lora-merge-cache CACHE" in block(text, "sh")
    assert head(text)["base_model"] == ["org/base"]


# --- making it again ------------------------------------------------------------------------------


def parsed(text):
    """What lm_eval understands of the command in the card."""
    command = block(text, "sh").partition("lm_eval ")[2].replace("\\\n", "")
    return vars(HarnessCLI()._parser.parse_args(["run", *shlex.split(command)]))


def test_the_recipe_of_the_card_is_that_of_the_model():
    """With names that others know."""
    model({**grid()[1].recipe(), "dtype": "bfloat16"})
    assert yaml.safe_load(block(card(*SOURCES), "yaml")) == {
        "merge_method": "wise_ft",
        "base_model": "anna/run@step-25",
        "models": [{"model": "anna/run@step-800"}],
        "parameters": {"alpha": 0.5},
        "dtype": "bfloat16",
    }


def test_the_command_of_the_card_samples_as_the_sweep_did():
    """As lm-eval itself reads it: task, K, temperature, prompt and seed."""
    model()
    points = grid(temperatures=(0.7,))
    settings = {
        "metadata": {"numbers": 3, "data_file": "/mnt/secret/it's mine.jsonl"},
        "gen_kwargs": {"max_gen_toks": 16, "top_p": 0.95},
        "model_args": {"dtype": "bfloat16", "device": "cuda:1", "token": "hf_secret"},
        "num_fewshot": 2,
        "apply_chat_template": True,
        "system_instruction": "Don't guess.",
        "fewshot_as_multiturn": False,
        "include_path": "/mnt/secret/tasks",
        "seed": 7,
    }
    leave(Path("grid"), points, [outcome(point, samples=4, limit=12) for point in points], **settings)
    text = card("--results", "grid", "--name", "anna/wise")
    found = parsed(text)
    assert (found["model"], found["tasks"]) == ("hf-passk", [TASK])
    assert found["model_args"] == {"pretrained": "anna/wise", "dtype": "bfloat16"}
    assert found["metadata"] == {"numbers": 3, "data_file": "it's mine.jsonl", "repeats": 4}
    assert found["gen_kwargs"] == {"max_gen_toks": 16, "top_p": 0.95, "temperature": 0.7}
    assert (found["num_fewshot"], found["limit"], found["apply_chat_template"]) == (2, 12, True)
    assert (found["system_instruction"], found["fewshot_as_multiturn"]) == ("Don't guess.", False)
    assert (found["include_path"], found["seed"][0]) == ("tasks", 7)
    assert "secret" not in text


@pytest.mark.parametrize(
    "settings",
    [
        {"until": ["\n", "a, b"]},
        {"until": "Question:, 7"},
        {"top_p": None},
        {"do_sample": True, "skip": "true"},
        {"suffix": "1"},
    ],
)
def test_settings_of_sampling_are_read_as_they_were(settings):
    """Lists, commas, and texts that look like something else."""
    leave(Path("grid"), grid(), gen_kwargs=settings)
    (command,) = sampling_commands(evidence_of_sweep(merged_of(grid()[1]), Path("grid")), "out", Privacy({}, ()))
    assert parsed(f"```sh\n{command}\n```")["gen_kwargs"] == {**settings, "temperature": 1.0}


def test_a_model_without_a_repository_is_sampled_where_it_is_made_again():
    """Nobody else has a folder of that name."""
    model()
    leave(Path("grid"), grid())
    text = card("--results", "grid")
    assert parsed(text)["model_args"] == {"pretrained": "out"}
    assert "\n# out\n" in text
    assert parsed(card("--results", "grid", "--name", "anna/wise"))["model_args"] == {"pretrained": "anna/wise"}


def test_whom_to_cite():
    """Every method and program with title, authors and number, in BibTeX that is closed."""
    model()
    text = block(card(), "bibtex")
    assert text.count("{") == text.count("}")
    entries = dict(re.findall(r"^@\w+\{([^,]+),\n(.*?)^\}", text, flags=re.MULTILINE | re.DOTALL))
    expected = {
        "dang2025weight": ("Weight Ensembling Improves Reasoning", "Xingyu Dang", 5, "arXiv:2504.10478", "2025"),
        "lin2023spurious": ("Spurious Feature Diversification", "Yong Lin", 8, "arXiv:2309.17230", "2023"),
        "wortsman2021robust": ("Robust fine-tuning of zero-shot", "Mitchell Wortsman", 11, "arXiv:2109.01903", "2021"),
        "goddard2024mergekit": ("Arcee's {MergeKit}", "Charles Goddard", 8, "arXiv:2403.13257", "2024"),
        "eval-harness": ("The Language Model Evaluation Harness", "Leo Gao", 24, "10.5281/zenodo.12608602", "2024"),
    }
    assert entries.keys() == expected.keys()
    for key, (title, first, count, number, year) in expected.items():
        fields = dict(re.findall(r"^  (\w+) += \{(.*?)\},?$", entries[key], flags=re.MULTILINE | re.DOTALL))
        assert fields["title"].startswith(title)
        authors = re.split(r"\s+and\s+", fields["author"])
        assert (authors[0], len(authors), fields["year"]) == (first, count, year)
        assert number in fields.get("journal", fields.get("doi"))


# --- what a person wrote --------------------------------------------------------------------------


def put(text, mine):
    """The card with a text between its marked lines."""
    start, end = text.index(BEGIN) + len(BEGIN) + 1, text.index(END)
    return (text[:start] + mine + text[end:]).encode()


@pytest.mark.parametrize(
    "mine",
    [
        "\n",
        "",
        "## Use\n\nAsk it \\1 \\g<0> for $x$ & more \\| ünïcödé.  \n\n\n",
        "no line end",
        "one\r\ntwo\rthree\n\r\n",
        "---\nlicense: mit\n---\n\n```yaml\n# not mine\n```\n| a | b |\n",
        "\x0c\u2028\u00a0\n",
    ],
)
def test_what_stands_between_the_marked_lines_is_kept_byte_for_byte(mine):
    """However often the card is written again, and whatever else changes in it."""
    out = model()
    (out / "README.md").write_bytes(put(card(), mine))
    for options in ((), ("--name", "anna/wise"), SOURCES):
        text = card(*options)
        assert text.count(BEGIN) == text.count(END) == 1
        assert text.partition(BEGIN + "\n")[2].partition(END)[0] == mine


def test_an_editor_that_changes_all_line_ends_loses_nothing():
    """A card saved with those of Windows, and a mark at its beginning, is a card still."""
    out = model()
    text = put(card(), "## Use\n\nAsk it.\n").decode()
    (out / "README.md").write_bytes(
        b"\xef\xbb\xbf" + text.replace("---\n", "---\nmine: 1\n", 1).replace("\n", "\r\n").encode()
    )
    again = card()
    assert again.partition(BEGIN + "\n")[2].partition(END)[0] == "## Use\r\n\r\nAsk it.\r\n"
    assert head(again)["mine"] == 1
    assert card() == again


def test_the_same_facts_make_the_same_card():
    """To the byte, so that nothing is sent twice."""
    out = model()
    leave(Path("grid"), grid())
    card("--results", "grid")
    first = {path.name: path.read_bytes() for path in out.iterdir()}
    card("--results", "grid")
    assert {path.name: path.read_bytes() for path in out.iterdir()} == first


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text.replace(END, ""),
        lambda text: text.replace(BEGIN, ""),
        lambda text: text.replace(END, "").replace(BEGIN, f"{END}\n{BEGIN}"),
        lambda text: f"{text}\n{BEGIN}\nmore of mine\n{END}\n",
        lambda text: text.replace(END, f"more\n{END}\neven more\n{END}"),
        lambda text: text.replace(END, "").replace("## What", "This is a merge of pre-trained language models ## What"),
    ],
)
def test_marks_that_are_not_as_they_were_lose_nothing(damage):
    """What is a person's cannot be told then: one line says so, and the card stays."""
    out = model()
    (out / "README.md").write_text(damage(put(card(), "mine\n").decode()))
    assert "must have each of these two lines once, in this order" in refused()


@pytest.mark.parametrize("text", ["# My model\n\nMine.\n", "", "---\nlicense: mit\n---\n", "# Ünï\r\n"])
def test_a_card_of_ones_own_is_not_touched(text):
    """One line says how to keep its text."""
    out = model()
    (out / "README.md").write_bytes(text.encode())
    assert f"put these two lines around it: {BEGIN} and {END}" in refused()
    (out / "README.md").write_bytes(f"{BEGIN}\n{text}{END}\n".encode())
    assert card().partition(BEGIN + "\n")[2].partition(END)[0] == text


def test_a_card_that_is_no_text_is_not_touched():
    """Saved by something that does not know UTF-8."""
    (model() / "README.md").write_bytes("# Modèle\n".encode("latin-1"))
    assert "README.md cannot be read" in refused()


@pytest.fixture(scope="module")
def mergekits(tiny_run, tmp_path_factory):
    """The card that mergekit-yaml itself writes."""
    out = tmp_path_factory.mktemp("mergekit") / "out"
    assert merge(wise_ft(tiny_run), out).exit_code == 0
    return (out / "README.md").read_text()


@pytest.mark.parametrize("ends", ["\n", "\r\n"])
def test_the_card_of_mergekit_is_replaced(ends, mergekits):
    """It says less, and nobody wrote it; its metadata are written anew."""
    (model() / "README.md").write_bytes(mergekits.replace("\n", ends).encode())
    text = card(*SOURCES)
    assert "## Merge Details" not in text
    assert head(text)["base_model"] == ["anna/run"]
    assert head(text)["tags"] == ["mergekit", "merge", "wise-ft"]


@pytest.mark.parametrize(
    "add",
    [
        lambda text: f"{text}\n## Use\n\nMine.\n",
        lambda text: text.replace("## Merge Details", "Mine.\n\n## Merge Details"),
        lambda text: text.replace("### Configuration", "Mine.\n\n### Configuration"),
        lambda text: f"{text}\n```sh\nmine\n```\n",
        lambda text: text.replace("```yaml", "Mine:\n\n```sh\nmine\n```\n\n```yaml"),
    ],
)
def test_a_card_of_mergekit_with_something_added_is_not_touched(add, mergekits):
    """People write into it what a model is good for."""
    (model() / "README.md").write_text(add(mergekits))
    assert "was written by somebody" in refused()


def test_what_a_person_added_to_the_metadata_is_kept():
    """Keys, tags and languages; what is told of the model itself is written anew."""
    out = model()
    text = card("--license", "mit")
    mine = "datasets:\n- anna/sums\nlanguage: [en]\nthumbnail: https://example.com/x.png\nreleased: 2026-01-31\n"
    text = text.replace("license: mit\n", mine).replace("- wise-ft\n", "- bang\n- arithmetic\n")
    (out / "README.md").write_text(
        text.replace("base_model:", "base_model: [x/y]\nold:") if "base_model:" in text else text
    )
    found = yaml.safe_load(card(*SOURCES).split("---\n")[1])
    assert (found["datasets"], found["language"], found["thumbnail"]) == (
        ["anna/sums"],
        ["en"],
        "https://example.com/x.png",
    )
    assert str(found["released"]) == "2026-01-31"
    assert found["tags"] == ["mergekit", "merge", "wise-ft", "arithmetic"]
    assert found["base_model"] == ["anna/run"]
    assert "license" not in found
    assert card(*SOURCES) == card(*SOURCES)


def test_metadata_that_are_no_yaml_are_not_touched():
    """One line says what is wrong."""
    out = model()
    (out / "README.md").write_text(card().replace("tags:", "tags: [\n", 1))
    assert "the YAML at the head of README.md cannot be read" in refused()


# --- the figure -----------------------------------------------------------------------------------


def pixels(png, colour):
    """Where a picture has a colour, bool [height, width]."""
    image = imread(io.BytesIO(png))[..., :3]
    return (np.abs(image - np.array(to_rgb(colour))) < 0.02).all(axis=-1)


def drawn(tasks=(TASK,), alphas=(0.0, 0.5, 1.0), **sizes):
    """The picture of a sweep's figures."""
    points = grid()
    made = [outcome(point, task=task, **sizes) for point in points for task in tasks if point.alpha in alphas]
    leave(Path("grid"), points, made, tasks=tasks)
    return draw(evidence_of_sweep(merged_of(points[1]), Path("grid")))


def test_the_figure_has_a_curve_for_each_model():
    """In its own colour from left to right, and the same figures make the same file."""
    png = drawn(samples=8, problems=30)
    for colour in COLOURS[: len(SHOWN)]:
        columns = np.flatnonzero(pixels(png, colour).any(axis=0))
        assert np.ptp(columns) > 0.7 * imread(io.BytesIO(png)).shape[1]
    assert drawn(samples=8, problems=30) == png


def test_a_model_that_was_not_sampled_has_no_curve():
    """Its colour does not occur."""
    png = drawn(alphas=(0.5, 1.0))
    assert [pixels(png, colour).any() for colour in COLOURS[:4]] == [False, True, True, False]


def test_a_model_beside_which_no_other_stands_shows_its_vote_too():
    """Pass@k in its own colour, and Maj@k in one that no checkpoint has."""
    png = drawn(alphas=(0.5,))
    assert [pixels(png, colour).any() for colour in COLOURS[:5]] == [False, True, False, True, False]


def test_every_task_has_a_panel_that_can_be_read():
    """Two beside each other, and as many below as it takes."""
    png = drawn(tasks=("a", "b", "c"))
    height, width = imread(io.BytesIO(png)).shape[:2]
    assert (width, height) == (2 * 1152, 2 * 792)
    this_model = pixels(png, COLOURS[1])
    panels = [this_model[top : top + 792, left : left + 1152].any() for top in (0, 792) for left in (0, 1152)]
    assert panels == [True, True, True, False]


def test_samples_of_a_single_problem_can_be_drawn():
    """Three curves, and no band."""
    png = drawn(samples=4, problems=1)
    assert pixels(png, COLOURS[1]).any()


def test_one_sample_of_each_problem_has_no_curve():
    """Neither a picture nor a column that says the same as Pass@1; the picture of an earlier card goes."""
    out = model()
    leave(Path("grid"), grid())
    card("--results", "grid")
    assert (out / "pass_at_k.png").exists()
    leave(Path("single"), grid(), samples=1, outcomes=[outcome(point, samples=1) for point in grid()])
    text = card("--results", "single")
    assert tables(text)[0][0] == ["", "T", "problems", "samples of each", "Pass@1"]
    assert "<details>" not in text
    assert "pass_at_k.png" not in text
    assert not (out / "pass_at_k.png").exists()


# --- entries of benchmarks ------------------------------------------------------------------------


def test_the_entry_of_a_benchmark_stands_in_a_file_named_after_its_task():
    """A slash of the task is no folder: the file is named as MathArena names that of its own results."""
    model()
    made = [outcome(point, task="aime26_passk", problems=30, samples=2) for point in grid()]
    leave(Path("grid"), grid(), made, tasks=("aime26_passk",), samples=2)
    card("--results", "grid", *SOURCES, "--license", "mit")
    (file,) = Path("out/.eval_results").iterdir()
    (entry,) = yaml.safe_load(file.read_text())
    assert file.name == "MathArena--aime_2026.yaml"
    assert entry["dataset"] == {"id": "MathArena/aime_2026", "task_id": "MathArena/aime_2026"}
