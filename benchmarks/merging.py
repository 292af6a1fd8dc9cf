"""What a merge costs: `wise-merge merge` beside `mergekit-yaml`, and beside a copy of the files, in one run.

Pairs of random bfloat16 Llamas: 0.5 billion parameters in one file each, where what counts is the start, and 1.1
billion in three files. The page cache is warm. Each command is a process of its own, imports included, and they take
turns, so that a machine that slows down slows all. The floor is a process that maps both inputs, averages by
`torch.lerp` and writes with `safetensors`. The disk needs 50 GB. Ratios are printed beside the targets; times are
this machine's.
"""

import argparse
import json
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
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import PreTrainedTokenizerFast

SCRIPTS = Path(sysconfig.get_path("scripts"))
MERGEKIT, OURS = SCRIPTS / "mergekit-yaml", SCRIPTS / "wise-merge"


@dataclass(frozen=True)
class Shape:
    """Of a Llama: its name in the table, sizes of its layers, its heads, and the number of files.

    `tied`: the embeddings are the LM head, too.
    """

    name: str
    hidden: int
    middle: int
    layers: int
    vocabulary: int
    heads: int
    key_heads: int
    files: int
    tied: bool


#: As Qwen2.5-0.5B and TinyLlama-1.1B.
SMALL = Shape("0.5 B", 896, 4864, 24, 151936, heads=14, key_heads=2, files=1, tied=True)
LARGE = Shape("1.1 B", 2048, 5632, 22, 32000, heads=32, key_heads=4, files=3, tied=False)

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


def make_models(folder: Path, shape: Shape, roles: Sequence[str] = ("early", "late")) -> None:
    """Write models: the first of random weights, the others a task vector of one per cent of them away."""
    hidden, middle = shape.hidden, shape.middle
    keys = hidden // shape.heads * shape.key_heads
    shapes = {"model.embed_tokens.weight": (shape.vocabulary, hidden)}
    if not shape.tied:
        shapes["lm_head.weight"] = (shape.vocabulary, hidden)
    for layer in range(shape.layers):
        name = f"model.layers.{layer}"
        shapes |= {
            f"{name}.self_attn.q_proj.weight": (hidden, hidden),
            f"{name}.self_attn.k_proj.weight": (keys, hidden),
            f"{name}.self_attn.v_proj.weight": (keys, hidden),
            f"{name}.self_attn.o_proj.weight": (hidden, hidden),
            f"{name}.mlp.gate_proj.weight": (middle, hidden),
            f"{name}.mlp.up_proj.weight": (middle, hidden),
            f"{name}.mlp.down_proj.weight": (hidden, middle),
            f"{name}.input_layernorm.weight": (hidden,),
            f"{name}.post_attention_layernorm.weight": (hidden,),
        }
    shapes["model.norm.weight"] = (hidden,)
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": hidden,
        "intermediate_size": middle,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.key_heads,
        "vocab_size": shape.vocabulary,
        "tie_word_embeddings": shape.tied,
        "dtype": "bfloat16",
    }
    generator = torch.Generator().manual_seed(0)
    for role in roles:
        (folder / role).mkdir()
        (folder / role / "config.json").write_text(json.dumps(config))
        _tokenizer().save_pretrained(folder / role)
    index = {}
    names = list(shapes)
    size = -(-len(names) // shape.files)
    for number in range(1, shape.files + 1):
        part = names[(number - 1) * size : number * size]
        file = "model.safetensors" if shape.files == 1 else f"model-{number:05d}-of-{shape.files:05d}.safetensors"
        first = {n: (0.02 * torch.randn(shapes[n], generator=generator)).bfloat16() for n in part}
        save_file(first, folder / roles[0] / file, metadata={"format": "pt"})
        for role in roles[1:]:
            other = {n: (t + 0.0002 * torch.randn(t.shape, generator=generator)).bfloat16() for n, t in first.items()}
            save_file(other, folder / role / file, metadata={"format": "pt"})
        index |= dict.fromkeys(part, file)
    if shape.files > 1:
        for role in roles:
            (folder / role / "model.safetensors.index.json").write_text(
                json.dumps({"metadata": {}, "weight_map": index})
            )


def _tokenizer() -> PreTrainedTokenizerFast:
    """Return a small one: mergekit writes a traceback where there is none, and a large one would slow it alone."""
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(WordLevel({"<unk>": 0, "<eos>": 1}, unk_token="<unk>")),
        unk_token="<unk>",
        eos_token="<eos>",
    )


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


def single(shape: Shape, rounds: int, folder: Path) -> None:
    """Print what one merge takes."""
    make_models(folder, shape)
    (folder / "wise.yml").write_text(WISE_FT)
    (folder / "linear.yml").write_text(LINEAR)
    commands: dict[str, list[str | Path]] = {
        "mergekit-yaml linear": [MERGEKIT, "linear.yml", "out", "--quiet"],
        "mergekit-yaml wise_ft": [MERGEKIT, "wise.yml", "out", "--quiet"],
        "wise-merge merge": [OURS, "merge", "wise.yml", "out"],
        "floor: map, lerp, save": [sys.executable, "-c", FLOOR, "out"],
        "cp of one model": ["cp", "-r", "early", "out"],
    }
    seconds: dict[str, list[float]] = {name: [] for name in commands}
    memory: dict[str, float] = {}
    for _ in range(rounds):
        for name, command in commands.items():
            spent, most = timed(command, folder)
            seconds[name].append(spent)
            memory[name] = max(memory.get(name, 0.0), most)
            shutil.rmtree(folder / "out")
    middle = {name: statistics.median(values) for name, values in seconds.items()}
    print(f"one merge of {shape.name} bfloat16 parameters, median of {rounds} (range)")
    print(f"{'':26}{'seconds':>10}{'':16}{'/ linear':>10}{'private GB':>12}")
    for name, values in seconds.items():
        spread = f"({min(values):.1f} - {max(values):.1f})"
        # By turns, within which the machine's speed is the same.
        turns = zip(values, seconds["mergekit-yaml linear"], strict=True)
        ratio = statistics.median(ours / linear for ours, linear in turns)
        print(f"{name:26}{middle[name]:10.1f}{spread:>16}{ratio:10.2f}{memory[name]:12.2f}")
    print("targets: wise-merge merge at most 0.40 of linear, at most 1 GB; wise_ft in mergekit not slower than linear")
    print()


def nine(folder: Path) -> None:
    """Print what nine merges of the pair in the folder take, in one pass and one by one."""
    begin = time.perf_counter()
    for number in range(1, 10):
        timed([MERGEKIT, "linear.yml", f"nine/{number}", "--quiet"], folder)
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
        passes.append(timed([OURS, "merge", "wise.yml", "nine", "--alphas", "0.1:0.9:0.1"], folder))
        shutil.rmtree(folder / "nine")
    one, copy = statistics.median(spent for spent, _ in passes), statistics.median(copies)
    print("nine models")
    print(f"9 x mergekit-yaml linear   {nine:8.1f} s")
    print(f"cp of nine models          {copy:8.1f} s")
    print(f"wise-merge merge --alphas  {one:8.1f} s, private memory {max(most for _, most in passes):.2f} GB")
    print(f"/ 9 x mergekit-yaml {one / nine:.2f} (target 0.20), / cp {one / copy:.2f} (target 1.60)")


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, help="where the files go; else a temporary folder")
    parser.add_argument("--rounds", type=int, default=5, help="of the single merges")
    parser.add_argument("--small", action="store_true", help="the 0.5 B pair only")
    parser.add_argument("--single", action="store_true", help="leave out the nine alphas")
    arguments = parser.parse_args()
    os.environ["HF_HUB_OFFLINE"] = "1"
    for shape in [SMALL] if arguments.small else [SMALL, LARGE]:
        with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
            single(shape, arguments.rounds, Path(name))
            if shape is LARGE and not arguments.single:
                nine(Path(name))


if __name__ == "__main__":
    main()
