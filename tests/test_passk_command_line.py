"""The tasks from the plain `lm_eval` command line, answered by tiny models: everything as a user types it."""

import json

import pytest
from support.checkpoints import character_tokenizer


@pytest.fixture(scope="module")
def chat_model(tiny_run, tmp_path_factory):
    """The tiny model with a tokenizer that has a chat template."""
    import shutil

    folder = tmp_path_factory.mktemp("chat") / "model"
    shutil.copytree(tiny_run / "checkpoint-1", folder)
    tokenizer = character_tokenizer()
    tokenizer.chat_template = (
        "{% for turn in messages %}[{{turn.role}}] {{turn.content}}\n{% endfor %}"
        "{% if add_generation_prompt %}[assistant]{% endif %}"
    )
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def lm_eval(tiny_run, tmp_path, console_script):
    """Runs `lm_eval` on a tiny model, cut to a few problems and tokens, and keeps what it writes in `results`."""

    def run(*arguments, model=tiny_run / "checkpoint-1", metadata=None, limit=("--limit", 2), tokens=8):
        return console_script(
            *("lm_eval", "--model", "hf", "--model_args", f"pretrained={model}", "--device", "cpu"),
            *("--batch_size", 16, "--output_path", "results", "--log_samples", *limit),
            *("--gen_kwargs", f"max_gen_toks={tokens}", "temperature=0.8"),
            *(("--metadata", json.dumps(metadata)) if metadata else ()),
            *arguments,
            cwd=tmp_path,
        )

    return run


def only(folder, pattern):
    (path,) = folder.glob(f"results/*/{pattern}")
    return path


def results_of(folder):
    return json.loads(only(folder, "results_*.json").read_text())


def samples_of(folder, task):
    return [json.loads(line) for line in only(folder, f"samples_{task}_*.jsonl").read_text().splitlines()]


def rows_of(table, column):
    """Return the cells of a column of lm-eval's table."""
    cells = [[cell.rstrip() for cell in line.split("|")[1:-1]] for line in table.splitlines() if line.startswith("|")]
    index = [cell.strip() for cell in cells[0]].index(column)
    return [row[index] for row in cells[2:]]


def test_the_group_runs_offline_on_local_files(shared_data, lm_eval, tmp_path):
    """`lm_eval --tasks passk`: all eight tasks, with K, temperature and data files from the command line."""
    files = {
        "gsm8k_passk": "gsm8k/test.jsonl",
        "math500_passk": "math500/test.jsonl",
        "aime24_passk": "aime/aime2024.jsonl",
        "aime25_passk": "aime/aime2025.jsonl",
        "aime26_passk": "aime/aime2026.jsonl",
        "countdown_passk": "countdown/cd3_test.jsonl",
        "sudoku4_passk": "sudoku/4x4_test.jsonl",
    }
    metadata = {"repeats": 4, "data_file": {task: str(shared_data / path) for task, path in files.items()}}
    result = lm_eval("--tasks", "passk", metadata={**metadata, "problems": 3})
    assert result.returncode == 0, result.stderr
    tasks = [*files, "sudoku9_passk"]
    results = results_of(tmp_path)
    for task in tasks:
        assert results["n-samples"][task]["effective"] == 2
        config = results["configs"][task]
        assert (config["repeats"], config["generation_kwargs"]["temperature"]) == (4, 0.8)
        assert len(config["metadata"].get("data_file_sha256", "")) == (0 if task == "sudoku9_passk" else 64)
        assert len(results["results"][task]["curve,samples"]["pass@k"]) == 4
        assert f"Audit of {task}: 2 problems, 4 completions of each" in result.stderr
        assert [len(set(row["resps"][0])) for row in samples_of(tmp_path, task)] == [4, 4]
    assert {name.strip() for name in rows_of(result.stdout, "Tasks")} >= {f"- {task}" for task in tasks}


def test_the_table_is_sorted_by_k_as_a_number(lm_eval, tmp_path):
    """1, 2, 4, 8, 16, with the k right-aligned, one line per metric; the JSON keeps plain names and the curve."""
    result = lm_eval("--tasks", "countdown_passk", metadata={"repeats": 16})
    assert result.returncode == 0, result.stderr
    ks = ["pass@ 1", "pass@ 2", "pass@ 4", "pass@ 8", "pass@16"]
    assert rows_of(result.stdout, "Metric") == ["answered", "cut_off", "identical", "maj@16", *ks]
    # The direction is looked up by name, too.
    assert result.stdout.count("↑") == 7
    assert result.stdout.count("↓") == 2
    names = {key.partition(",")[0] for key in results_of(tmp_path)["results"]["countdown_passk"] if "," in key}
    assert names >= {"pass@1", "pass@16", "pass@8_stderr", "maj@16", "curve", "audit"}


def test_a_chat_model_gets_instructions_through_its_template(chat_model, lm_eval, tmp_path):
    """--apply_chat_template on a real tokenizer: no examples, no stop string, and generation ends all the same."""
    result = lm_eval(
        *("--tasks", "countdown_passk", "--apply_chat_template"), model=chat_model, metadata={"repeats": 4}
    )
    assert result.returncode == 0, result.stderr
    assert "--apply_chat_template selects --metadata prompt=instruct" in result.stderr
    for row in samples_of(tmp_path, "countdown_passk"):
        arguments = row["arguments"]["gen_args_0"]
        assert arguments["arg_0"].startswith("[user] Numbers:")
        assert arguments["arg_0"].endswith("</answer>.\n[assistant]")
        assert arguments["arg_1"]["until"] == []
        assert len(set(row["resps"][0])) == 4


def test_worked_examples_go_through_a_chat_template_if_asked_for(chat_model, lm_eval, tmp_path):
    """prompt=fewshot wins over the template's choice; each example is a turn, and there are as many as wanted."""
    arguments = ["--tasks", "countdown_passk", "--apply_chat_template", "--num_fewshot", 3]
    result = lm_eval(*arguments, model=chat_model, metadata={"repeats": 4, "prompt": "fewshot"})
    assert result.returncode == 0, result.stderr
    prompt = samples_of(tmp_path, "countdown_passk")[0]["arguments"]["gen_args_0"]["arg_0"]
    assert prompt.count("[user] Numbers:") == 4


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--metadata", "data_file=nowhere.jsonl"], "gsm8k_passk: data_file 'nowhere.jsonl' does not exist"),
        (["--use_cache", "cache"], "countdown_passk: --use_cache is refused, because it keeps one of the K"),
        (["--gen_kwargs", "max_gen_toks=8192"], "countdown_passk: completions of max_gen_toks=8192 leave 0 tokens"),
        (["--metadata", "data_file=damaged.jsonl"], "gsm8k_passk: damaged.jsonl is not a JSON Lines file; line 2: not"),
        (["--cache_requests", "true"], "countdown_passk: --cache_requests is refused, because its key holds neither K"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_a_mistake_is_one_line(arguments, message, lm_eval, tmp_path):
    """`lm_eval` ends with exit code 1 and our message, without a traceback and without sampling."""
    task = "gsm8k_passk" if message.startswith("gsm8k") else "countdown_passk"
    (tmp_path / "damaged.jsonl").write_text('{"question": "a", "answer": "3"}\n{"question": "b", "answer": 3\n')
    result = lm_eval("--tasks", task, *arguments)
    assert result.returncode == 1
    assert result.stderr.splitlines()[-1].startswith(message)
    assert "Traceback" not in result.stderr
    assert "Running generate_until requests" not in result.stderr


def test_lm_evals_own_options_keep_working(lm_eval, tmp_path):
    """--samples picks problems, --write_out shows the prompt, --predict_only scores nothing."""
    chosen = json.dumps({"countdown_passk": [3, 5]})
    result = lm_eval(
        *("--tasks", "countdown_passk", "--samples", chosen, "--write_out"), metadata={"repeats": 2}, limit=()
    )
    assert result.returncode == 0, result.stderr
    assert [row["doc_id"] for row in samples_of(tmp_path, "countdown_passk")] == [3, 5]
    assert "document 0; context prompt" in result.stderr
    only(tmp_path, "results_*.json").unlink()
    only(tmp_path, "samples_*.jsonl").unlink()
    result = lm_eval("--tasks", "countdown_passk", "--predict_only", metadata={"repeats": 2})
    assert result.returncode == 0, result.stderr
    assert [len(row["resps"][0]) for row in samples_of(tmp_path, "countdown_passk")] == [2, 2]
    assert "bypass,samples" in results_of(tmp_path)["results"]["countdown_passk"]


def test_the_tasks_are_valid(console_script, tmp_path):
    """In the eyes of `lm_eval validate`."""
    result = console_script("lm_eval", "validate", "--tasks", "countdown_passk,passk", cwd=tmp_path)
    assert "All tasks found and valid" in result.stdout + result.stderr
