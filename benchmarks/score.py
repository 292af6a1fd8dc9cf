"""What `wise-merge score` costs on a large file: seconds and peak memory of the whole command.

The file has lm-eval's format, as many problems as GSM8K and 256 samples each, from a seed.
"""

import argparse
import json
import random
import resource
import subprocess
import sys
import sysconfig
import tempfile
import time
from pathlib import Path

SENTENCES = (
    "She starts with {a} apples and buys {b} more, so there are {a} + {b} = {sum} apples.",
    "Each of the {a} boxes holds {b} pens, which makes {a} * {b} = {product} pens in all.",
    "After giving away {a} of them, {sum} - {a} = {b} are left for the next day.",
    "That costs {a} dollars per week, or ${product} over {b} weeks altogether.",
)


def write_samples(path: Path, *, problems: int, samples: int, seed: int = 0) -> None:
    """Write an lm-eval samples file with completions of 300 to 500 characters."""
    rng = random.Random(seed)
    with path.open("w") as file:
        for doc_id in range(problems):
            gold, skill = rng.randint(1, 2000), rng.betavariate(0.8, 0.8)
            texts = [
                _completion(rng, gold if rng.random() < skill else gold + rng.randint(1, 40)) for _ in range(samples)
            ]
            doc = {"question": f"How many are there in case {doc_id}?", "answer": f"They are counted.\n#### {gold}"}
            row = {"doc_id": doc_id, "doc": doc, "target": doc["answer"], "arguments": {}, "resps": [texts]}
            # As lm-eval does, all texts stand there twice.
            file.write(json.dumps({**row, "filtered_resps": [texts], "filter": "samples"}) + "\n")


def _completion(rng: random.Random, answer: int) -> str:
    lines = []
    while sum(map(len, lines)) < 300:
        a, b = rng.randint(2, 90), rng.randint(2, 90)
        lines.append(rng.choice(SENTENCES).format(a=a, b=b, sum=a + b, product=a * b))
    return " ".join([*lines, f"The answer is {answer}."])


def main() -> None:
    """Generate the file, run the command on it and print what it cost."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--problems", type=int, default=1319)
    parser.add_argument("--samples", type=int, default=256)
    settings = parser.parse_args()
    script = Path(sysconfig.get_path("scripts")) / "wise-merge"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "samples_gsm8k_passk_2026-01-01T00-00-00.000000.jsonl"
        write_samples(path, problems=settings.problems, samples=settings.samples)
        print(f"{settings.problems:,} problems x {settings.samples} samples, {path.stat().st_size / 1e6:.0f} MB")
        begin = time.perf_counter()
        outputs = [
            "--json",
            f"{folder}/results.json",
            "--csv",
            f"{folder}/results.csv",
            "--figures",
            f"{folder}/figures",
        ]
        subprocess.run([sys.executable, str(script), "score", str(path), *outputs], check=True)
        seconds = time.perf_counter() - begin
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss  # kilobytes on Linux
    print(f"{seconds:.1f} s, {peak / 1e6:.2f} GB at most in one process")


if __name__ == "__main__":
    main()
