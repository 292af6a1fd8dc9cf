"""What judging 500 problems x 256 samples of MATH costs here, beside calling math-verify on each sample.

The samples are made of real ones: the texts that LLaDA-8B wrote for MATH500, with the last box filled
with the gold, with what the model answered, or with answers to other problems of the same subject, so
that a problem has 10 to 30 distinct wrong answers, a few frequent and many rare. math-verify is called
on every sample of some problems, in one process as it is used, and the time for all is extrapolated; both are
measured in the same run, and both must come to the same verdicts, but where math-verify reads a part of the answer.
"""

import json
import logging
import os
import random
import sys
import time
from pathlib import Path

from math_verify import parse, verify

from wise_merge.answers import benchmarks, workers
from wise_merge.answers.completions import last_boxes

SAMPLES = 256
MEASURED_PROBLEMS = 50
DATA = Path(os.environ.get("WISE_MERGE_TEST_DATA", Path(__file__).resolve().parent.parent.parent / "shared" / "data"))


def real_problems() -> list[dict]:
    """Return the problems of MATH500 with LLaDA-8B's completions and boxed answers."""
    with (DATA / "math500" / "test.jsonl").open(encoding="utf-8") as file:
        subjects = {row["problem"]: row["subject"] for row in map(json.loads, file)}
    with (DATA / "completions" / "llada8b_math500.jsonl").open(encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    for row in rows:
        row["subject"] = subjects[row["problem"]]
        boxes = [last_boxes(completion, 500) for completion in row["completions"]]
        row["boxed"] = [box[0][2] for box in boxes if box and box[0][2]]
    return rows


def samples(row: dict, others: list[str], rng: random.Random) -> list[str]:
    """Return SAMPLES completions of one problem; the share of right ones differs by problem, as it does in life."""
    wrong = list(dict.fromkeys([*row["boxed"], *rng.sample(others, rng.randint(10, 30))]))
    weights = [1 / (rank + 1) for rank in range(len(wrong))]  # Zipf
    right = rng.betavariate(0.5, 0.7)
    made = []
    for _ in range(SAMPLES):
        answer = row["answer"] if rng.random() < right else rng.choices(wrong, weights)[0]
        text = rng.choice(row["completions"]).split("<|eot_id|>")[0]
        box = last_boxes(text, 500)
        start, end = box[0][:2] if box and box[0][2] else (len(text), len(text))
        made.append(f"{text[:start]}\\boxed{{{answer}}}{text[end:]}")
    return made


def processor_time() -> float:
    """Return the processor seconds of this process and of those that it started and that have ended."""
    return sum(os.times()[:4])


def main() -> None:
    """Print the table."""
    if not DATA.is_dir():
        print(f"skipped: needs real evaluation data in {DATA}; set WISE_MERGE_TEST_DATA to its folder")
        return
    logging.disable(logging.CRITICAL)  # math-verify reports its timeouts
    rng = random.Random(0)
    rows = real_problems()
    by_subject: dict[str, list[str]] = {}
    for row in rows:
        by_subject.setdefault(row["subject"], []).extend([row["answer"], *row["boxed"]])
    problems = []
    for row in rows:
        others = [answer for answer in dict.fromkeys(by_subject[row["subject"]]) if answer != row["answer"]]
        problems.append((row["answer"], samples(row, others, rng)))
    total = sum(len(completions) for _, completions in problems)

    math = benchmarks.find("math")
    begin = time.perf_counter()
    for _, completions in problems:
        for completion in completions:
            math.extract(completion)
    extraction = time.perf_counter() - begin
    begin, begin_processor = time.perf_counter(), processor_time()
    judged = benchmarks.judge(math, problems)
    ours = time.perf_counter() - begin
    workers.close()  # their time counts once they have ended
    ours_processor = processor_time() - begin_processor

    measured = rng.sample(range(len(problems)), MEASURED_PROBLEMS)
    differing = []
    begin, begin_processor = time.perf_counter(), processor_time()
    theirs = {
        i: [verify(parse(f"${problems[i][0]}$"), parse(completion)) for completion in problems[i][1]] for i in measured
    }
    share = MEASURED_PROBLEMS / len(problems)
    whole, whole_processor = (time.perf_counter() - begin) / share, (processor_time() - begin_processor) / share
    for i in measured:
        for completion, verdict, our_verdict in zip(problems[i][1], theirs[i], judged[i].correct, strict=True):
            if verdict != our_verdict:
                differing.append((problems[i][0], math.extract(completion), verdict))
    right = sum(sum(row.correct) for row in judged)
    distinct = sum(len(set(row.answers) - {None}) for row in judged)

    print(f"Python {sys.version.split()[0]}, {os.cpu_count()} cores; {len(problems)} problems x {SAMPLES} samples")
    print(f"{right / total:.1%} right; {distinct / len(problems):.1f} classes of answers per problem")
    print(f"{'':50}{'wall':>10}{'processor':>12}")
    print(f"{'finding the answers alone':50}{extraction:8.1f} s")
    print(f"{'wise-merge, all samples':50}{ours:8.1f} s{ours_processor:10.1f} s")
    theirs_name = f"math-verify, each sample (from {MEASURED_PROBLEMS} problems)"
    print(f"{theirs_name:50}{whole:8.1f} s{whole_processor:10.1f} s")
    print(f"{'times less':50}{whole / ours:8.1f}  {whole_processor / ours_processor:10.1f}")
    # Some boxes it cannot read, `\\boxed{2\\sqrt}` for one. It then takes what it finds in the text before; we do not.
    # Of boxes with text between them it makes a list; here the last one answers.
    unread = []
    for gold, answer, theirs_is in differing:
        parsed = parse(answer) if answer else []
        if all(isinstance(part, str) for part in parsed) or verify(parse(f"${gold}$"), parsed) != theirs_is:
            unread.append(answer)
    print(f"{'verdicts compared':50}{MEASURED_PROBLEMS * SAMPLES:8}")
    print(f"{'differing':50}{len(differing) - len(unread):8}")
    print(f"{'differing where math-verify cannot read the box':50}{len(unread):8}")
    wrong = [each for each in differing if each[1] not in unread]
    for gold, answer, verdict in wrong[:10]:
        print(f"  gold {gold!r}, answer {answer!r}: math-verify says {verdict}", file=sys.stderr)
    if wrong:
        raise SystemExit("the verdicts differ")


if __name__ == "__main__":
    main()
