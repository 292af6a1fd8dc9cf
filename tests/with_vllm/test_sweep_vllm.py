"""`wise-merge sweep --backend vllm` on the real engine: each point is what `vllm-passk` finds of the merged model."""

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

TASK = "gsm8k_passk"
ENGINE = {"dtype": "float32", "enforce_eager": True, "kv_cache_memory_bytes": 64 << 20, "max_model_len": 512}
SIZES = {"hidden_size": 64, "intermediate_size": 128}


def typed(*arguments):
    done = CliRunner().invoke(main, [str(one) for one in arguments], catch_exceptions=False)
    assert done.exit_code == 0, done.output


def test_a_point_is_what_vllm_passk_finds_of_the_merged_model(tmp_path):
    """The same samples, by their verdicts and answers, as of an engine that is started on the output of a merge."""
    for seed in (1, 2):
        make_checkpoint(
            tmp_path / f"checkpoint-{seed}", seed=seed, config=tiny_llama(**SIZES, tie_word_embeddings=True)
        )
    rows = [{"question": f"Which digit is number {n}?", "answer": f"It is. #### {n % 10}"} for n in range(12)]
    (tmp_path / "digits.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    settings = {
        "early": str(tmp_path / "checkpoint-1"),
        "late": str(tmp_path / "checkpoint-2"),
        "alphas": [0.3],
        "tasks": [TASK],
        "samples": 6,
        "backend": "vllm",
        "model_args": ENGINE,
        "num_fewshot": 0,
        "gen_kwargs": {"max_gen_toks": 10},
        "metadata": {"data_file": str(tmp_path / "digits.jsonl")},
    }
    (tmp_path / "sweep.yml").write_text(yaml.safe_dump(settings))
    typed("sweep", tmp_path / "sweep.yml", "--out", tmp_path / "results")
    early, middle, late = read_results(tmp_path / "results").outcomes
    assert [one.point.alpha for one in (early, middle, late)] == [0.0, 0.3, 1.0]
    assert len({tuple(problem.answers for problem in one.problems) for one in (early, middle, late)}) == 3
    (tmp_path / "wise.yml").write_text(yaml.safe_dump(middle.point.recipe()))
    typed("merge", tmp_path / "wise.yml", tmp_path / "merged")
    evaluated = simple_evaluate(
        model="vllm-passk",
        model_args={"pretrained": str(tmp_path / "merged"), "seed": 1234, **ENGINE},
        tasks=[TASK],
        num_fewshot=0,
        metadata={"data_file": str(tmp_path / "digits.jsonl"), "repeats": 6},
        gen_kwargs={"max_gen_toks": 10, "temperature": 1.0},
        log_samples=True,
    )
    theirs = {str(row["doc_id"]): row["curve"] for row in evaluated["samples"][TASK]}
    for problem in middle.problems:
        assert theirs[problem.id]["answers"] == list(problem.answers)
        assert theirs[problem.id]["correct"] == list(problem.correct)
