"""Points of a sweep and what came of them, without any model."""

import random
from pathlib import Path

from wise_merge.points import Outcome, PointCheckpoint, ProblemOutcome, Results, on_line
from wise_merge.points.folder import write_outcome, write_plan
from wise_merge.publish.merged import Merged
from wise_merge.recipes.models import ingredients

TASK = "countdown_passk"

EARLY = PointCheckpoint("sft/checkpoint-25", 25, "e" * 32)

LATE = PointCheckpoint("sft/checkpoint-800", 800, "a" * 32)


def grid(*lates, alphas=(0.0, 0.5, 1.0), temperatures=(1.0,), method="wise_ft", early=EARLY, **dtypes):
    """The points of a sweep."""
    return [
        on_line(early, late, method, alpha, temperature, **dtypes)
        for late in lates or (LATE,)
        for alpha in alphas
        for temperature in temperatures
    ]


def outcome(point, *, problems=12, samples=4, task=TASK, limit=None, max_tokens=16, seed=None):
    """What came of a point: seeded verdicts, the better the larger alpha is; wrong answers differ."""
    drawn = random.Random(f"{seed} {point.title} {task}")
    rows = [[drawn.random() < (1 + point.alpha + number % 3) / 5 for _ in range(samples)] for number in range(problems)]
    return of_verdicts(point, rows, task=task, limit=limit, max_tokens=max_tokens)


def of_verdicts(point, rows, *, task=TASK, limit=None, max_tokens=16):
    """What came of a point, from whether each sample of each problem is correct."""
    found = tuple(problem(number, row) for number, row in enumerate(rows))
    return Outcome(point, task, f"{point.model}-{task}-{point.temperature:g}", max_tokens, None, found, limit)


def leave(folder, points, outcomes=None, *, tasks=(TASK,), samples=4, **settings):
    """Write the results of a sweep: of all points and tasks, unless told otherwise."""
    known = {"method": points[0].method, "dtype": points[0].dtype, "backend": "hf", "num_fewshot": 0}
    write_plan(Results(folder, {**known, **settings}, samples, tuple(tasks), tuple(points)))
    if outcomes is None:
        outcomes = [outcome(point, task=task, samples=samples) for point in points for task in tasks]
    for one in outcomes:
        write_outcome(folder, one)
    return folder


def merged_of(point, folder=Path("out"), **changes):
    """The model of a point, as a folder has it."""
    recipe = {**point.recipe(), **changes}
    return Merged(folder, recipe, ingredients(recipe)[0], {}, "LlamaForCausalLM", "float32")


def problem(id, correct, *, answers=None, logprobs=None):
    n = len(correct)
    return ProblemOutcome(
        id=str(id),
        prompt=f"prompt {id}",
        gold="7",
        correct=tuple(map(bool, correct)),
        answers=tuple(answers or ("7" if right else str(100 + place) for place, right in enumerate(correct))),
        logprobs=tuple(logprobs or [-1.0] * n),
        distinct=n,
        operations=(n,),
        cut_off=0,
        tokens=10 * n,
    )
