"""What merges of many models cost, beside `mergekit-yaml` linear on the same ones, in one run.

Random bfloat16 Llamas of 1.1 billion parameters in three files each, the page cache warm; each command is a process of
its own, imports included, and they take turns. Five models for the uniform soup: its floor is a process that hashes all
five and copies one. Three for `fisher` (files with random entries) and `widen`. Every element of the soup is compared
with float64 arithmetic. The disk needs 40 GB. Ratios are printed beside the targets; times are this machine's.
"""

import argparse
import os
import shutil
import statistics
import sys
import tempfile
from pathlib import Path

import torch
import yaml
from merging import LARGE, MERGEKIT, OURS, SMALL, make_models, timed

from wise_merge.checkpoints.fingerprint import of_weights
from wise_merge.checkpoints.weights import open_tensors
from wise_merge.methods import METHODS
from wise_merge.tensor_files.contents import write

FLOOR = """
import hashlib, shutil, sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

files = sorted(Path(".").glob("model?/*.safetensors"))
with ThreadPoolExecutor(2) as threads:
    hashes = threads.map(lambda path: hashlib.file_digest(path.open("rb"), "sha256").hexdigest(), files)
    shutil.copytree("model0", sys.argv[1])
    list(hashes)
"""


def write_fishers(folder: Path, models: list[str]) -> None:
    """Write a Fisher file of each model: random squares."""
    drawn = torch.Generator().manual_seed(0)
    for model in models:
        tensors = {
            name: torch.rand(tensor.shape, generator=drawn) for name, tensor in open_tensors(folder / model).items()
        }
        norm = sum(tensor.square().sum().item() for tensor in tensors.values()) ** 0.5
        facts = {"digest": of_weights(folder / model), "norm": repr(norm)}
        write(folder / f"{model}.fisher.safetensors", "fisher", tensors, facts)


def by_turns(folder: Path, commands: dict[str, list[str | Path]], rounds: int, peer: str) -> None:
    """Print the seconds of each command, their ratio to those of the peer in the same turn, and private memory."""
    seconds: dict[str, list[float]] = {name: [] for name in commands}
    memory = dict.fromkeys(commands, 0.0)
    for _ in range(rounds):
        for name, command in commands.items():
            shutil.rmtree(folder / "out", ignore_errors=True)
            spent, most = timed(command, folder)
            seconds[name].append(spent)
            memory[name] = max(memory[name], most)
    print(f"{'':26}{'seconds':>10}{'':16}{'/ ' + peer:>26}{'private GB':>12}")
    for name, values in seconds.items():
        ratios = [one / other for one, other in zip(values, seconds[peer], strict=True)]
        spread = f"({min(values):.1f} - {max(values):.1f})"
        print(
            f"{name:26}{statistics.median(values):10.1f}{spread:>16}{statistics.median(ratios):26.2f}{memory[name]:12.2f}"
        )


def recipe(folder: Path, name: str, method: str, models: list[dict[str, object]], **more: object) -> str:
    """Write a recipe and return the name of its file."""
    content = {"merge_method": method, "models": models, "dtype": "bfloat16", **more}
    (folder / f"{name}.yml").write_text(yaml.safe_dump(content, sort_keys=False))
    return f"{name}.yml"


def worst_rounding(folder: Path, models: list[str]) -> float:
    """Return the largest difference between the soup in `out` and float64 arithmetic, in spacings of bfloat16 there."""
    inputs, out = [open_tensors(folder / model) for model in models], open_tensors(folder / "out")
    worst = 0.0
    for name, tensor in out.items():
        exact = sum(one[name].double() for one in inputs) / len(inputs)
        # The spacing of 8 significant bits at the exact value; subnormal numbers do not occur.
        spacing = torch.exp2(torch.floor(torch.log2(exact.abs().clamp(min=2.0**-120))) - 7)
        worst = max(worst, ((tensor.double() - exact).abs() / spacing).max().item())
    return worst


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, help="where the files go; else a temporary folder")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--small", action="store_true", help="models of 0.5 B")
    arguments = parser.parse_args()
    os.environ["HF_HUB_OFFLINE"] = "1"
    with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
        folder = Path(name)
        models = [f"model{number}" for number in range(5)]
        make_models(folder, SMALL if arguments.small else LARGE, models)
        plain: list[dict[str, object]] = [{"model": f"./{model}"} for model in models]
        weighted = [{**one, "parameters": {"weight": 1.0}} for one in plain]
        linear5 = recipe(folder, "linear5", "linear", weighted)
        soup = recipe(folder, "soup", "uniform_soup", plain)
        print("the mean of five models")
        by_turns(
            folder,
            {
                "mergekit-yaml linear": [MERGEKIT, linear5, "out", "--quiet"],
                "hash five, copy one": [sys.executable, "-c", FLOOR, "out"],
                "wise-merge merge": [OURS, "merge", soup, "out"],
            },
            arguments.rounds,
            "mergekit-yaml linear",
        )
        print("targets: at most 0.40 of linear, at most 1.3 of the floor, under 1 GB of private memory")
        print(f"farthest from float64 arithmetic: {worst_rounding(folder, models):.4f} of the spacing (target: 0.5)\n")
        three = models[:3]
        write_fishers(folder, three)
        fisher = recipe(
            folder,
            "fisher",
            "fisher",
            [{"model": f"./{model}", "parameters": {"fisher": f"{model}.fisher.safetensors"}} for model in three],
        )
        linear3 = recipe(folder, "linear3", "linear", weighted[:3])
        commands: dict[str, list[str | Path]] = {
            "mergekit-yaml linear": [MERGEKIT, linear3, "out", "--quiet"],
            "mergekit-yaml fisher": [MERGEKIT, fisher, "out", "--quiet"],
            "wise-merge merge fisher": [OURS, "merge", fisher, "out"],
        }
        if "widen" in METHODS:
            widen = recipe(folder, "widen", "widen", plain[1:3], base_model="./model0")
            commands["mergekit-yaml widen"] = [MERGEKIT, widen, "out", "--quiet"]
        print("three models")
        by_turns(folder, commands, arguments.rounds, "mergekit-yaml linear")
        print("targets, in mergekit-yaml: fisher at most 2, widen at most 3")


if __name__ == "__main__":
    main()
