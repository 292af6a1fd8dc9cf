"""The example of BANG in a setting of seconds, and the Python of docs/training.md as it stands."""

import json
import math
import re
import sys

import pytest
from conftest import REPOSITORY
from support import forked
from support.checkpoints import character_tokenizer, make_checkpoint

EXAMPLE = REPOSITORY / "examples" / "sft_bang.py"
PAGE = REPOSITORY / "docs" / "training.md"
BLOCKS = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.DOTALL | re.MULTILINE)
MODELS = ["early", "late", "WiSE-FT", "BANG, merge time", "late, BANG training", "BANG, trained"]


@pytest.fixture(scope="module")
def example(tmp_path_factory):
    """The folder and the output of a tiny run."""
    out = tmp_path_factory.mktemp("example") / "bang"
    small = {"pretraining-steps": 60, "sft-steps": 8, "early": 2, "problems": 12, "samples": 4}
    options = [text for name, value in small.items() for text in (f"--{name}", str(value))]
    done = forked.run([sys.executable, EXAMPLE, "--out", out, *options])
    assert done.returncode == 0, done.stdout + done.stderr
    return out, done.stdout


@pytest.mark.slow
def test_the_table_is_what_the_samples_say(example):
    """Pass@k and its standard error, recomputed from the texts by counting, stand in the printed table."""
    out, printed = example
    results = json.loads((out / "results.json").read_text())
    assert [result["model"] for result in results] == [name for name in MODELS for _ in range(2)]
    lines = [line for line in printed.splitlines() if re.match(r".*\d\.\d\d  \d\.\d{3} ± ", line)]
    assert len(lines) == len(results)
    for result, line in zip(results[::2] + results[1::2], lines, strict=True):
        rows = [json.loads(row) for row in (out / result["file"]).read_text().splitlines()]
        assert [len(row["completions"]) for row in rows] == [4] * 12
        solved = [[reaches(row["prompt"], text) for text in row["completions"]] for row in rows]
        assert solved == [row["correct"] for row in rows]
        assert result["correct"] == [sum(row) for row in solved]
        for k in (1, 4):
            values = [sum(row) / 4 if k == 1 else float(any(row)) for row in solved]
            mean = sum(values) / 12
            error = math.sqrt(sum((value - mean) ** 2 for value in values) / 11 / 12)
            assert f"{mean:.3f} ± {error:.3f}" in line
        assert line.startswith(result["model"])
        assert f"{result['nll']:.3f}  {result['ece']:.3f}" in line


def reaches(prompt, text):
    """Whether an expression solves the problem of a prompt, by Python's own arithmetic; no code of the package."""
    numbers, target = re.search(r"Numbers: (.*)\nTarget: (\d+)", prompt).groups()
    if not re.fullmatch(r" ?[-+*() 0-9]+", text) or sorted(re.findall(r"\d+", text)) != sorted(numbers.split()):
        return False
    try:
        return eval(text.strip()) == int(target)  # digits, signs and brackets only
    except (SyntaxError, TypeError):
        return False


@pytest.mark.slow
def test_each_merge_is_the_average_that_its_name_says(example):
    """WiSE-FT and trained BANG are halfway between the ends of their runs; BANG differs in the last norm alone."""
    from safetensors.torch import load_file

    out, _ = example
    wise, bang, trained = (
        load_file(out / f"merged/{name}/model.safetensors") for name in ("wise", "bang", "trained-bang")
    )
    for run, merged in (("sft", wise), ("sft-bang", trained)):
        early = load_file(out / run / "early/checkpoint-2/model.safetensors")
        late = load_file(out / run / "checkpoint-8/model.safetensors")
        for name in merged:
            assert (merged[name] - (early[name] + late[name]) / 2).abs().max() < 1e-7
    assert {name for name in wise if not (wise[name] == bang[name]).all()} == {"model.norm.weight"}


@pytest.mark.slow
def test_both_runs_start_alike_and_part(example):
    """The same pre-trained model, but another loss."""
    from safetensors.torch import load_file

    out, _ = example
    plain, balanced = (load_file(out / run / "checkpoint-8/model.safetensors") for run in ("sft", "sft-bang"))
    name = "model.embed_tokens.weight"
    assert 1e-4 < (plain[name] - balanced[name]).abs().max() < 0.1


@pytest.mark.slow
def test_the_verdict_is_about_every_form_of_bang(example):
    """Four sentences, each with both ends of both intervals."""
    _, printed = example
    sentences = [line for line in printed.splitlines() if "against WiSE-FT it" in line]
    assert [line.split(":")[0] for line in sentences] == ["BANG, merge time", "BANG, trained"] * 2
    assert all(len(re.findall(r"(raises|lowers|does not clearly change) Pass@[14]", line)) == 2 for line in sentences)


@pytest.mark.parametrize("host", ["Trainer", "SFTTrainer"])
@pytest.mark.parametrize("block", BLOCKS, ids=range(len(BLOCKS)))
@pytest.mark.filterwarnings("ignore:.*deprecated:FutureWarning")
def test_the_python_of_the_page_runs(block, host, tmp_path):
    """Every block trains as it stands, and with the other trainer in its place."""
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, TrainingArguments
    from trl import SFTConfig

    base = make_checkpoint(tmp_path / "base", seed=0)
    ids = character_tokenizer()(["1 + 1 = 2"] * 8)["input_ids"]
    config = {"Trainer": TrainingArguments, "SFTTrainer": SFTConfig}[host]
    names = {
        "model": AutoModelForCausalLM.from_pretrained(base),
        "dataset": Dataset.from_dict({"input_ids": ids, "labels": ids}),
        "args": config(
            output_dir=str(tmp_path / "run"), max_steps=26, per_device_train_batch_size=4, save_total_limit=1,
            report_to="none", disable_tqdm=True, use_cpu=True, bf16=False,
        ),
    }  # fmt: skip
    module = {"Trainer": "transformers", "SFTTrainer": "trl"}[host]
    block = re.sub(r"from \w+ import (SFT)?Trainer\b", f"from {module} import {host}", block)
    block = re.sub(r"\b(SFT)?Trainer\b", host, block)
    exec(block, names)
    assert names["trainer"].state.global_step == 26
    assert (tmp_path / "run/early/checkpoint-25").is_dir() == ("KeepEarlyCheckpoints" in block)


def test_the_page_has_a_block_for_each_part():
    """One for the callback, one for the loss, one for BANG."""
    assert len(BLOCKS) == 3
