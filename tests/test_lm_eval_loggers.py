"""`lm_eval --wandb_args` and `--trackio_args` with tasks of ours, whose results hold curves, and no list of metrics."""

import json
import sqlite3

import pytest
from support.wandb_files import records

from wise_merge.hosts.lm_eval.loggers import mend_wandb_logger, with_metric_names

#: As lm-eval has them of a task of ours, cut to what its logger reads.
RESULTS = {
    "results": {
        "group": {"name": "group", "alias": "group"},
        "t_passk": {
            "name": "t_passk", "alias": "t_passk", "sample_len": 1, "pass@1,samples": 0.5, "pass@1_stderr,samples": 0.1,
            "curve,samples": {"pass@k": [0.5, 1.0]}, "curve_stderr,samples": "N/A", "audit,samples": {"n": 2},
        },
    },
    "configs": {"t_passk": {"task": "t_passk", "output_type": "generate_until"}},
}  # fmt: skip
ROW = {
    "doc_id": 0, "target": "4", "arguments": [("2 + 2 =", {})], "resps": [["4", "5"]], "filtered_resps": [["4", "5"]],
    "pass@1": 0.5, "curve": {"answers": ["4", "5"]}, "audit": {"n": 2},
}  # fmt: skip


@pytest.fixture
def logger(monkeypatch):
    """A logger of lm-eval without a run; what it would log is in `run`."""
    from lm_eval.loggers.wandb_logger import WandbLogger

    class Run(dict):
        def log(self, told, step=None):
            self.update(told)

    # What is mended stays so.
    monkeypatch.setattr(WandbLogger, "post_init", WandbLogger.post_init)
    made = object.__new__(WandbLogger)
    made.run, made.step = Run(), None
    monkeypatch.setattr(made, "_log_samples_as_artifact", lambda *_: None, raising=False)
    return made


def tell(logger):
    logger.post_init(RESULTS)
    logger._get_config()
    logger.log_eval_samples({"t_passk": [ROW]})


def test_the_logger_of_wandb_takes_our_samples(logger):
    """Which it does not by itself: a row per problem, with all completions and every metric that is a number."""
    original = type(logger).post_init
    if getattr(original, "mended_by_wise_merge", False):
        type(logger).post_init = original.__wrapped__
    with pytest.raises(KeyError):
        tell(logger)
    mend_wandb_logger()
    tell(logger)
    (row,) = logger.run["t_passk_eval_results"].to_dict("records")
    assert row["filtered_predictions"] == ["4", "5"]
    assert row["pass@1"] == 0.5
    assert not {"curve", "audit", "group"} & set(row)


def test_a_list_of_metrics_that_the_results_have_stays():
    """Such as that of lm-eval's own tasks; one of metrics that are not in the results does not."""
    named = {"metric_list": [{"metric": "pass@1", "aggregation": "mean"}]}
    unknown = {"metric_list": [{"metric": "exact_match"}]}
    for config, expected in ((named, named), (unknown, {"metric_list": [{"metric": "pass@1"}]})):
        given = {**RESULTS, "configs": {"t_passk": config}}
        assert with_metric_names(given)["configs"]["t_passk"] == expected


@pytest.mark.slow  # lm-eval reads its 14,000 task files, and W&B starts a program of its own
def test_both_loggers_take_a_group_of_our_tasks(tiny_run, tmp_path, console_script):
    """As a user types it: scalars and samples in both, the curve and the audit in W&B."""
    pytest.importorskip("wandb")
    pytest.importorskip("trackio")
    (tmp_path / "tasks").mkdir()
    (tmp_path / "tasks/mine.yaml").write_text("group: mine\ntask: [gsm8k_passk, countdown_passk]\n")
    problems = [{"question": f"What is {digit} + 0?", "answer": f"#### {digit}"} for digit in range(4)]
    (tmp_path / "digits.jsonl").write_text("".join(json.dumps(problem) + "\n" for problem in problems))
    done = console_script(
        *("lm_eval", "--model", "hf-passk", "--model_args", f"pretrained={tiny_run / 'checkpoint-2'}"),
        *("--tasks", "mine", "--include_path", "tasks", "--num_fewshot", 0, "--device", "cpu", "--limit", 4),
        *("--gen_kwargs", "max_gen_toks=8", "--log_samples", "--output_path", "results"),
        *("--metadata", json.dumps({"repeats": 4, "data_file": {"gsm8k_passk": "digits.jsonl"}})),
        *("--wandb_args", "project=p,name=n", "--trackio_args", "project=p,name=n"),
        cwd=tmp_path,
        WANDB_MODE="offline",
        WANDB_DIR=str(tmp_path),
        TRACKIO_DIR=str(tmp_path / "trackio"),
    )
    assert done.returncode == 0, done.stderr
    assert "Logging to W&B failed" not in done.stderr
    assert "Logging to Trackio failed" not in done.stderr
    (results,) = tmp_path.glob("results/*/results_*.json")
    expected = json.loads(results.read_text())["results"]
    (path,) = tmp_path.glob("wandb/offline-run-*/run-*.wandb")
    logged = {}
    for record in records(path):
        if record.WhichOneof("record_type") == "history":
            logged |= {"/".join(item.nested_key): json.loads(item.value_json) for item in record.history.item}
    for task in ("gsm8k_passk", "countdown_passk"):
        assert logged[f"{task}/pass@4,samples"] == pytest.approx(expected[task]["pass@4,samples"])
        assert logged[f"{task}/curve,samples/pass@k"] == pytest.approx(expected[task]["curve,samples"]["pass@k"])
        assert logged[f"{task}_eval_results/nrows"] == 4
    with sqlite3.connect(tmp_path / "trackio/p.db") as database:
        rows = [json.loads(told) for (told,) in database.execute("select metrics from metrics")]
    assert [row["gsm8k_passk/pass@4,samples"] for row in rows if "gsm8k_passk/pass@4,samples" in row] == [
        pytest.approx(expected["gsm8k_passk"]["pass@4,samples"])
    ]
    assert len(list(tmp_path.glob("trackio/traces/p/n/*-sample.jsonl"))) == 8
