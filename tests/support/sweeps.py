"""Sweeps of tiny checkpoints, and what they leave."""

import json
from collections import Counter
from dataclasses import replace

import yaml
from click.testing import CliRunner

from wise_merge.cli import main
from wise_merge.points import read_results

TASK = "gsm8k_passk"

#: What every sweep here is told, as the options of the command and as lm-eval has it.
SAMPLING = {"num_fewshot": 0, "limit": 12}


def write(place, **changes):
    """Write the file of a sweep and return it with the options that every sweep here has."""
    settings = {
        "run": str(place / "run"),
        "alphas": [0.3, 0.7],
        "temperatures": [0.8, 1.2],
        "tasks": [TASK],
        "samples": 6,
        "batch_size": 256,
        "device": "cpu",
        "gen_kwargs": {"max_gen_toks": 10},
        "metadata": {"data_file": str(place / "digits.jsonl")},
        **SAMPLING,
        **changes,
    }
    path = place / f"sweep-{abs(hash(json.dumps(changes, sort_keys=True)))}.yml"
    path.write_text(yaml.safe_dump({key: value for key, value in settings.items() if value is not None}))
    return path


def sweep(place, out, *options, **changes):
    """Run the command in this process; return what it printed."""
    done = CliRunner().invoke(
        main, ["sweep", str(write(place, **changes)), "--out", str(out), *options], catch_exceptions=False
    )
    assert done.exit_code == 0, done.output
    return done.stdout


def figures(folder):
    """What was found, by point and task: verdicts and answers of every sample."""
    # Log-probabilities are those of other batches, and so rounded otherwise.
    return {
        (one.point.name, one.task): [replace(problem, logprobs=()) for problem in one.problems]
        for one in read_results(folder).outcomes
    }


def drawn(folder):
    """How often each sample stands in the journal."""
    count = Counter()
    for path in (folder / "journal").glob("*.jsonl"):
        for line in path.read_text().splitlines():
            record = json.loads(line)
            if record["kind"] == "sample":
                count[record["run"], record["problem"], record["index"]] += 1
    return count
