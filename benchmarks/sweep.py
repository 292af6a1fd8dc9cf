"""What a sweep costs: one more alpha beside a bare lerp and beside merge + reload, and a grid beside the same grid
done with `mergekit-yaml` and `lm_eval`.

The first part has a pair of random bfloat16 Llamas with 1.1 billion parameters; the second the demo's tiny model,
trained for some steps only, on problems of CountDown. Whatever is compared takes turns in one run, each command as a
process of its own, imports included. Ratios are printed beside the targets; times are this machine's.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
import yaml
from merging import LARGE, WISE_FT, make_models

from wise_merge.demo.recipe import Recipe, Stage
from wise_merge.demo.tiny_model import train
from wise_merge.recipes.models import Ingredients
from wise_merge.tensors.in_memory import OpenCheckpoint, OpenModels

SCRIPTS = Path(sysconfig.get_path("scripts"))
ENVIRONMENT = {**os.environ, "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
ALPHAS = (0.25, 0.5, 0.75)
RELOAD = (
    "import sys; from transformers import AutoModelForCausalLM as M; M.from_pretrained(sys.argv[1], dtype='bfloat16')"
)


def seconds(work: Callable[[], object]) -> float:
    """Return how long it takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def call(*command: str, cwd: Path) -> float:
    """Return the seconds of a console script, which must succeed."""
    done: list[subprocess.CompletedProcess[str]] = []
    script = [str(SCRIPTS / command[0]) if (SCRIPTS / command[0]).exists() else command[0], *command[1:]]
    took = seconds(
        lambda: done.append(
            subprocess.run(script, cwd=cwd, env=ENVIRONMENT, capture_output=True, text=True, check=False)
        )
    )
    if done[0].returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{done[0].stderr[-2000:]}")
    return took


def one_alpha(rounds: int) -> None:
    """Print what it costs to become another average."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_models(folder, LARGE)
        (folder / "wise.yml").write_text(WISE_FT)
        early, late = folder / "early", folder / "late"
        recipe = {
            "merge_method": "wise_ft",
            "base_model": str(early),
            "models": [{"model": str(late)}],
            "parameters": {"alpha": 0.5},
        }
        models = OpenModels([OpenCheckpoint(early), OpenCheckpoint(late)], Ingredients(str(early), (str(late),)))
        places = {name: tensor.clone() for name, tensor in models.merged(recipe)}
        ends = [
            {name: tensor.clone() for name, tensor in models.merged({**recipe, "parameters": {"alpha": alpha}})}
            for alpha in (0.0, 1.0)
        ]

        def lerp() -> None:
            for name, place in places.items():
                torch.lerp(ends[0][name], ends[1][name], 0.5, out=place)

        # The first time looks for infinities and brings the files into the page cache.
        models.merge_into(recipe, places.get)
        ours, bare = [], []
        for _ in range(rounds):
            ours.append(seconds(lambda: models.merge_into(recipe, places.get)))
            bare.append(seconds(lerp))
        places.clear()
        ends.clear()
        again = call("wise-merge", "merge", "wise.yml", "merged", cwd=folder)
        reload = call(sys.executable, "-c", RELOAD, "merged", cwd=folder)
    one, floor = statistics.median(ours), statistics.median(bare)
    print("one more alpha, 1.1 billion parameters in bfloat16")
    print(
        f"  in place, from the mapped files     {one:6.2f} s   {one / floor:.2f} of a bare lerp in memory (target 1.5)"
    )
    print(f"  bare lerp in memory                 {floor:6.2f} s")
    whole = again + reload
    print(f"  wise-merge merge, then load         {whole:6.2f} s   {whole / one:.0f} times as long (target 10)")


def grid(problems: int, samples: int) -> None:
    """Print what a grid costs, by one sweep and point by point."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        stage = Stage(200, 64, 3e-3, (25, 200))
        train(Recipe(pretraining=stage, sft=stage, sft_problems=400, problems=problems), folder)
        early, late = "sft/checkpoint-25", "sft/checkpoint-200"
        temperatures = (0.7, 1.0)
        metadata = {"numbers": 3, "largest": 12, "problems": problems}
        settings = {
            **{"early": early, "late": late, "alphas": list(ALPHAS), "temperatures": list(temperatures)},
            **{"tasks": ["countdown_passk"], "samples": samples, "metadata": metadata, "num_fewshot": 0},
            **{"gen_kwargs": {"max_gen_toks": 16}, "batch_size": 512, "device": "cpu"},
        }
        (folder / "sweep.yml").write_text(yaml.safe_dump(settings))

        def sweep(out: str, *options: str) -> float:
            return call("wise-merge", "sweep", "sweep.yml", "--out", out, *options, cwd=folder)

        def evaluate(model: str, temperature: float, k: int, *options: str) -> float:
            return call(
                *("lm_eval", "--model", "hf", "--model_args", f"pretrained={model},dtype=float32"),
                *("--tasks", "countdown_passk", "--num_fewshot", "0", "--batch_size", "512", "--device", "cpu"),
                *("--metadata", json.dumps({**metadata, "repeats": k})),
                *("--gen_kwargs", f"temperature={temperature}", "max_gen_toks=16", "--output_path", "out"),
                *options,
                cwd=folder,
            )

        started = sweep("first", "--limit", "1", "--samples", "1")
        ours = sweep("results")
        merging = 0.0
        for alpha in ALPHAS:
            recipe = {"merge_method": "wise_ft", "base_model": early, "models": [{"model": late}]}
            (folder / "one.yml").write_text(yaml.safe_dump({**recipe, "parameters": {"alpha": alpha}}))
            merging += call("mergekit-yaml", "one.yml", f"alpha-{alpha}", cwd=folder)
        models = [early, *(f"alpha-{alpha}" for alpha in ALPHAS), late]
        start_up = evaluate(early, 1.0, 1, "--limit", "1")
        evaluating = sum(evaluate(model, t, samples) for model in models for t in temperatures)
    points = len(models) * len(temperatures)
    theirs = merging + evaluating
    rest = max(0.0, evaluating - points * start_up)
    print(f"\na grid of {points} points, {problems} problems x {samples} samples, a tiny model with short prompts")
    print(f"  mergekit-yaml + lm_eval  {theirs:7.1f} s", end=": ")
    print(f"start-up {points * start_up:.1f}, merging {merging:.1f}, sampling {rest:.1f}")
    print(f"  wise-merge sweep         {ours:7.1f} s", end=": ")
    print(f"start-up and all averages {started:.1f}, sampling {ours - started:.1f}")
    print(f"  {theirs / ours:.1f} times faster (target 5)")


def main() -> None:
    """Run both parts, or one."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=["alpha", "grid"])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--problems", type=int, default=100)
    parser.add_argument("--samples", type=int, default=16)
    given = parser.parse_args()
    if given.only != "grid":
        one_alpha(given.rounds)
    if given.only != "alpha":
        grid(given.problems, given.samples)


if __name__ == "__main__":
    main()
