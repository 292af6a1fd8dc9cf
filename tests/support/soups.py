"""Soups of tiny checkpoints near each other, and what they leave."""

import json
import shutil

from click.testing import CliRunner

from wise_merge.cli import main

from .checkpoints import make_checkpoint

TASK = "gsm8k_passk"
#: Steps of the checkpoints of each run.
RUNS = {"a": (10, 20, 30), "b": (10, 20)}


def make_runs(folder):
    """Make two runs whose checkpoints are one random model and a little noise each, and problems for them."""
    import torch
    from safetensors.torch import load_file, save_file

    base = make_checkpoint(folder / "base", seed=0)
    weights = load_file(base / "model.safetensors")
    number = 0
    for run, steps in RUNS.items():
        for step in steps:
            number += 1
            drawn = torch.Generator().manual_seed(number)
            noisy = {name: one + 0.03 * torch.randn(one.shape, generator=drawn) for name, one in weights.items()}
            checkpoint = folder / run / f"checkpoint-{step}"
            shutil.copytree(base, checkpoint)
            save_file(noisy, checkpoint / "model.safetensors", metadata={"format": "pt"})
    rows = [{"question": f"Which digit is number {n}?", "answer": f"It is. #### {n % 10}"} for n in range(40)]
    (folder / "digits.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def options(runs, out, *, objective="pass@1", run=tuple(RUNS), samples=6, **changes):
    """The command line of a soup of the runs, relative to their folder; None leaves an option out."""
    given = {
        "run": run,
        "objective": objective,
        "tasks": TASK,
        "samples": samples,
        "metadata": f"data_file={runs / 'digits.jsonl'}",
        "num_fewshot": 0,
        "device": "cpu",
        "batch_size": 256,
        "gen_kwargs": "max_gen_toks=10",
        "out": out,
        **changes,
    }
    line = []
    for key, value in given.items():
        for one in value if isinstance(value, (tuple, list)) else [value]:
            if one is not None:
                line += [f"--{key.replace('_', '-')}", str(runs / one if key == "run" else one)]
    return ["soup", *line]


def invoke(runs, out, *further, **changes):
    """Run the command in this process."""
    return CliRunner().invoke(main, [*options(runs, out, **changes), *further], catch_exceptions=False)


def soup(runs, out, *further, **changes):
    """Run the command in this process; return what it printed."""
    done = invoke(runs, out, *further, **changes)
    assert done.exit_code == 0, done.output
    return done.stdout
