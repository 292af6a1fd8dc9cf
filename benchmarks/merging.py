"""What a merge costs: `wise-merge merge` beside `mergekit-yaml`, and beside a copy of the files, in one run.

A pair of random bfloat16 Llamas with 1.1 billion parameters, in three files each; the page cache is warm. Each
command is a process of its own, imports included, and they take turns, so that a machine that slows down slows
all. The floor is a process that maps both inputs, averages by `torch.lerp` and writes with `safetensors`. The disk
needs 50 GB. Ratios are printed beside the targets; times are this machine's.
"""

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import sysconfig
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import save_file

SCRIPTS = Path(sysconfig.get_path("scripts"))
HIDDEN, MIDDLE, LAYERS, VOCABULARY, KEYS = 2048, 5632, 22, 32000, 256

RECIPE = """\
merge_method: {method}
base_model: ./early
models:
{models}
parameters:
  {parameters}
dtype: bfloat16
"""
WISE_FT = RECIPE.format(method="wise_ft", models="  - model: ./late", parameters="alpha: 0.5")
LINEAR = RECIPE.format(
    method="linear",
    models="  - model: ./early\n    parameters: {weight: 0.5}\n  - model: ./late\n    parameters: {weight: 0.5}",
    parameters="normalize: true",
)

FLOOR = """
import sys, torch
from safetensors import safe_open
from safetensors.torch import save_file
from pathlib import Path
out = Path(sys.argv[1]); out.mkdir()
for path in sorted(Path("early").glob("*.safetensors")):
    with safe_open(path, "pt") as early, safe_open(Path("late") / path.name, "pt") as late:
        save_file({n: torch.lerp(early.get_tensor(n), late.get_tensor(n), 0.5) for n in early.keys()}, out / path.name)
"""


def make_pair(folder: Path) -> None:
    """Write `early` and `late`: random weights, and a task vector of one per cent of them."""
    import json

    shapes = {"model.embed_tokens.weight": (VOCABULARY, HIDDEN), "lm_head.weight": (VOCABULARY, HIDDEN)}
    for layer in range(LAYERS):
        name = f"model.layers.{layer}"
        shapes |= {
            f"{name}.self_attn.q_proj.weight": (HIDDEN, HIDDEN),
            f"{name}.self_attn.k_proj.weight": (KEYS, HIDDEN),
            f"{name}.self_attn.v_proj.weight": (KEYS, HIDDEN),
            f"{name}.self_attn.o_proj.weight": (HIDDEN, HIDDEN),
            f"{name}.mlp.gate_proj.weight": (MIDDLE, HIDDEN),
            f"{name}.mlp.up_proj.weight": (MIDDLE, HIDDEN),
            f"{name}.mlp.down_proj.weight": (HIDDEN, MIDDLE),
            f"{name}.input_layernorm.weight": (HIDDEN,),
            f"{name}.post_attention_layernorm.weight": (HIDDEN,),
        }
    shapes["model.norm.weight"] = (HIDDEN,)
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": HIDDEN,
        "intermediate_size": MIDDLE,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": 32,
        "num_key_value_heads": 4,
        "vocab_size": VOCABULARY,
        "dtype": "bfloat16",
    }
    names = list(shapes)
    thirds = [
        names[: len(names) * 9 // 20],
        names[len(names) * 9 // 20 : len(names) * 9 // 10],
        names[len(names) * 9 // 10 :],
    ]
    generator = torch.Generator().manual_seed(0)
    for role in ("early", "late"):
        (folder / role).mkdir()
        (folder / role / "config.json").write_text(json.dumps(config))
    index = {}
    for number, part in enumerate(thirds, start=1):
        file = f"model-{number:05d}-of-00003.safetensors"
        early = {n: (0.02 * torch.randn(shapes[n], generator=generator)).bfloat16() for n in part}
        late = {n: (t + 0.0002 * torch.randn(t.shape, generator=generator)).bfloat16() for n, t in early.items()}
        save_file(early, folder / "early" / file, metadata={"format": "pt"})
        save_file(late, folder / "late" / file, metadata={"format": "pt"})
        index |= dict.fromkeys(part, file)
    for role in ("early", "late"):
        (folder / role / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": index}))


def timed(command: Sequence[str | Path], folder: Path) -> tuple[float, float]:
    """Return wall seconds of a command and the most private memory in GB that it had, seen every 20 ms."""
    begin = time.perf_counter()
    process = subprocess.Popen(
        [str(part) for part in command], cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    most = 0
    done = threading.Event()

    def watch() -> None:
        nonlocal most
        while not done.wait(0.02):
            try:
                status = Path(f"/proc/{process.pid}/status").read_text()
            except OSError:
                return
            found = [line for line in status.splitlines() if line.startswith("RssAnon")]
            if found:
                most = max(most, int(found[0].split()[1]))

    watcher = threading.Thread(target=watch)
    watcher.start()
    _, errors = process.communicate()
    seconds = time.perf_counter() - begin
    done.set()
    watcher.join()
    if process.returncode:
        raise SystemExit(f"{command} failed:\n{errors}")
    return seconds, most * 1024 / 1e9


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, help="where the files go; else a temporary folder")
    parser.add_argument("--rounds", type=int, default=3, help="of the single merges")
    parser.add_argument("--single", action="store_true", help="leave out the nine alphas")
    arguments = parser.parse_args()
    os.environ["HF_HUB_OFFLINE"] = "1"
    with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
        folder = Path(name)
        make_pair(folder)
        (folder / "wise.yml").write_text(WISE_FT)
        (folder / "linear.yml").write_text(LINEAR)
        mergekit, ours = SCRIPTS / "mergekit-yaml", SCRIPTS / "wise-merge"
        commands: dict[str, list[str | Path]] = {
            "mergekit-yaml linear": [mergekit, "linear.yml", "out", "--quiet"],
            "mergekit-yaml wise_ft": [mergekit, "wise.yml", "out", "--quiet"],
            "wise-merge merge": [ours, "merge", "wise.yml", "out"],
            "floor: map, lerp, save": [sys.executable, "-c", FLOOR, "out"],
            "cp of one model": ["cp", "-r", "early", "out"],
        }
        seconds: dict[str, list[float]] = {name: [] for name in commands}
        memory: dict[str, float] = {}
        for _ in range(arguments.rounds):
            for name, command in commands.items():
                spent, most = timed(command, folder)
                seconds[name].append(spent)
                memory[name] = max(memory.get(name, 0.0), most)
                shutil.rmtree(folder / "out")
        middle = {name: statistics.median(values) for name, values in seconds.items()}
        linear = middle["mergekit-yaml linear"]
        print(f"one merge of 1.1 B bfloat16 parameters, median of {arguments.rounds} (range)")
        print(f"{'':26}{'seconds':>10}{'':16}{'/ linear':>10}{'private GB':>12}")
        for name, values in seconds.items():
            spread = f"({min(values):.1f} - {max(values):.1f})"
            print(f"{name:26}{middle[name]:10.1f}{spread:>16}{middle[name] / linear:10.2f}{memory[name]:12.2f}")
        print(
            "targets: wise-merge merge at most 0.40 of linear, at most 1 GB; wise_ft in mergekit not slower than linear"
        )
        if arguments.single:
            return
        begin = time.perf_counter()
        for number in range(1, 10):
            timed([mergekit, "linear.yml", f"nine/{number}", "--quiet"], folder)
        nine = time.perf_counter() - begin
        shutil.rmtree(folder / "nine")
        copies, passes = [], []
        for _ in range(2):
            begin = time.perf_counter()
            for number in range(1, 10):
                timed(["cp", "-r", "early", f"copy{number}"], folder)
            copies.append(time.perf_counter() - begin)
            for number in range(1, 10):
                shutil.rmtree(folder / f"copy{number}")
            passes.append(timed([ours, "merge", "wise.yml", "nine", "--alphas", "0.1:0.9:0.1"], folder))
            shutil.rmtree(folder / "nine")
        one, copy = statistics.median(spent for spent, _ in passes), statistics.median(copies)
        print("\nnine models")
        print(f"9 x mergekit-yaml linear   {nine:8.1f} s")
        print(f"cp of nine models          {copy:8.1f} s")
        print(f"wise-merge merge --alphas  {one:8.1f} s, private memory {max(most for _, most in passes):.2f} GB")
        print(f"/ 9 x mergekit-yaml {one / nine:.2f} (target 0.20), / cp {one / copy:.2f} (target 1.60)")


if __name__ == "__main__":
    main()
