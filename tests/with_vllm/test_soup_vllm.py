"""`wise-merge soup --backend vllm` on the real engine: a mean is what `vllm-passk` finds of the merged model."""

import json
import os

import pytest

# Before vLLM is imported: the engine in this process, nothing compiled, nothing asked of the network.
os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")
os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
os.environ.setdefault("TORCH_COMPILE_DISABLE", "1")

pytest.importorskip("vllm", reason="needs vLLM: `make test-vllm` runs this file in an environment that has it")

import yaml
from click.testing import CliRunner
from lm_eval import simple_evaluate
from support.checkpoints import make_checkpoint, tiny_llama

from wise_merge.cli import main
from wise_merge.points import read_results
from wise_merge.points.soup import read_soup

TASK = "gsm8k_passk"
ENGINE = {"dtype": "float32", "enforce_eager": True, "kv_cache_memory_bytes": 64 << 20, "max_model_len": 512}


def typed(*arguments):
    done = CliRunner().invoke(main, [str(one) for one in arguments], catch_exceptions=False)
    assert done.exit_code == 0, done.output


def test_a_mean_is_what_vllm_passk_finds_of_the_merged_model(tmp_path):
    """The same samples, by their verdicts and answers, as of an engine that is started on the output of a merge."""
    names = []
    for seed in (1, 2, 3):
        config = tiny_llama(hidden_size=64, intermediate_size=128, tie_word_embeddings=True)
        names.append(str(make_checkpoint(tmp_path / f"checkpoint-{seed}", seed=seed, config=config)))
    rows = [{"question": f"Which digit is number {n}?", "answer": f"It is. #### {n % 10}"} for n in range(12)]
    (tmp_path / "digits.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    settings = {
        "models": names,
        "objective": "pass@1",
        "tasks": [TASK],
        "samples": 6,
        "backend": "vllm",
        "model_args": ENGINE,
        "num_fewshot": 0,
        "gen_kwargs": {"max_gen_toks": 10},
        "metadata": {"data_file": str(tmp_path / "digits.jsonl")},
    }
    (tmp_path / "search.yml").write_text(yaml.safe_dump(settings))
    typed("soup", tmp_path / "search.yml", "--out", tmp_path / "results")
    assert len(read_soup(tmp_path / "results").steps) == 3
    outcomes = read_results(tmp_path / "results").outcomes
    (mean,) = (one for one in outcomes if len(one.point.checkpoints) == 3)
    assert len({tuple(problem.answers for problem in one.problems) for one in outcomes}) == len(outcomes)
    (tmp_path / "soup.yml").write_text(yaml.safe_dump(mean.point.recipe()))
    typed("merge", tmp_path / "soup.yml", tmp_path / "merged")
    evaluated = simple_evaluate(
        model="vllm-passk",
        model_args={"pretrained": str(tmp_path / "merged"), "seed": 1234, **ENGINE},
        tasks=[TASK],
        metadata={**settings["metadata"], "repeats": 6},
        gen_kwargs={"max_gen_toks": 10, "temperature": 1.0},
        num_fewshot=0,
    )
    curves = [sample["curve"] for sample in evaluated["samples"][TASK]]
    assert [one.answers for one in mean.problems] == [tuple(curve["answers"]) for curve in curves]
    assert [one.correct for one in mean.problems] == [tuple(curve["correct"]) for curve in curves]
