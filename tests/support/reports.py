"""Results of a sweep of which the structure is known."""

import itertools
import random

import numpy as np

from wise_merge.answers.benchmarks import Judged
from wise_merge.journal.journal import Journal
from wise_merge.journal.records import Run, Sample, problem_id
from wise_merge.points.folder import Results, read_results, write_outcome, write_plan
from wise_merge.points.outcome import Outcome, outcome_of_problem
from wise_merge.points.point import Coordinate, Point, PointCheckpoint, on_line
from wise_merge.points.soup import Soup, SoupChoice, SoupRival, SoupStep
from wise_merge.tasks.completion import Completion

EARLY = PointCheckpoint("runs/sft/checkpoint-25", 25, "0" * 32)


def late(step, name=None):
    return PointCheckpoint(name or f"runs/sft/checkpoint-{step}", step, f"{step:032x}")


def skills(alpha, problems, late_step, temperature):
    """The chance of each problem: in the middle for early, at both ends for late, better between."""
    rng = np.random.default_rng(7)
    middle, ends = rng.beta(3, 4, problems), rng.beta(0.35, 0.55, problems)
    weight = alpha * min(1.0, 0.55 + late_step / 2000)
    mixed = (1 - weight) * middle + weight * ends + 0.5 * weight * (1 - weight) * (1 - middle)
    return np.clip(mixed - 0.08 * abs(temperature - 1), 0, 1)


def make_results(
    folder,
    *,
    lates=(400, 800),
    alphas=(0.0, 0.25, 0.5, 0.75, 1.0),
    temperatures=(1.0,),
    problems=12,
    n=8,
    tasks=("countdown",),
    n_of=lambda point: None,
    stopped=lambda point: None,
    skip=lambda point, task: False,
    text=lambda problem, index, right: f"Trying {index} + 1 = {problem}.\nThe answer is {'42' if right else index}.",
    names=None,
    journal=True,
):
    """Write the results of a sweep with verdicts of a known structure, and return them as they are read."""
    checkpoints = [late(step, names and names[i]) for i, step in enumerate(lates)]
    points = [
        on_line(EARLY, checkpoint, "wise_ft", alpha, temperature)
        for checkpoint, temperature, alpha in itertools.product(checkpoints, temperatures, alphas)
    ]
    write_plan(Results(folder, {"seed": 1}, n, tuple(tasks), tuple(points)))
    for task, point in itertools.product(tasks, points):
        if skip(point, task):
            continue
        drawn, rng = n_of(point) or n, random.Random(f"{task} {point.model} {point.temperature}")
        run = Run(task, {"name": point.name, "model": point.model}, {"temperature": point.temperature})
        kept, found = [], []
        chances = skills(point.alpha, problems, point.late.step, point.temperature).tolist()
        for problem in range(problems):
            prompt = f"Q: an example\nA: 1\n\nQ: what is {problem} of {task}?\nA:"
            right = [rng.random() < chances[problem] for _ in range(drawn)]
            answers = tuple("42" if one else rng.choice(("1", "2", "3", None)) for one in right)
            completions = [
                Completion(
                    text(problem, i, one), finish_reason="stop" if i else "length", tokens=9, logprob=-rng.random()
                )
                for i, one in enumerate(right)
            ]
            judged = Judged(answers, tuple(right))
            found.append(outcome_of_problem(f"{task}-{problem}", problem_id(prompt), 42, completions, judged))
            kept.append((prompt, completions))
        if journal:
            with Journal.open(folder / "journal", run) as book:
                book.ask((prompt, i, {"question": prompt}, 42) for i, (prompt, _) in enumerate(kept))
                for prompt, completions in kept:
                    for i, one in enumerate(completions):
                        book.append(
                            Sample(problem_id(prompt), i, str(one), one.tokens, one.finish_reason, one.logprob, i)
                        )
        write_outcome(folder, Outcome(point, task, run.fingerprint, 64, stopped(point), tuple(found)))
    return read_results(folder)


def make_soup(folder, *, steps=(25, 400, 800), temperatures=(1.0,), problems=6, n=4):
    """Write the results of a sweep without an alpha: three checkpoints and their mean."""
    weights = ((1.0, 0.0, 0.0), (1.0, 1.0, 1.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))
    return make_weighted(folder, weights, steps=steps, temperatures=temperatures, problems=problems, n=n)


def make_grid(folder, *, second=(0.0, 0.5, 1.0, 2.0), third=(0.5, 1.0, 4.0), temperatures=(1.0,), problems=6, n=4):
    """Write the results of a sweep over the weights of two of three checkpoints, and of each of them as it is."""
    alone = [(1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)]
    weights = [*alone, *((1.0, two, three) for three in third for two in second)]
    return make_weighted(folder, list(dict.fromkeys(weights)), temperatures=temperatures, problems=problems, n=n)


def make_weighted(folder, weights, *, steps=(25, 400, 800), temperatures=(1.0,), problems=6, n=4):
    """Write the results of a sweep over means of the checkpoints one, two and three with these weights."""
    names = ("one", "two", "three")
    checkpoints = tuple(PointCheckpoint(f"runs/{name}", step, name) for name, step in zip(names, steps, strict=True))
    points = [
        Point(checkpoints, "uniform_soup", tuple(Coordinate("weight", w, i) for i, w in enumerate(some)), temperature)
        for some in weights
        for temperature in temperatures
    ]
    write_plan(Results(folder, {"method": "uniform_soup"}, n, ("countdown",), tuple(points)))
    for point in points:
        drawn, found = random.Random(point.name), []
        for problem in range(problems):
            right = tuple(drawn.random() < (0.6 if point.unmerged is None else 0.3) for _ in range(n))
            texts = [Completion(f"{index} + 1", tokens=3, logprob=-1.0) for index in range(n)]
            judged = Judged(tuple("42" if one else None for one in right), right)
            found.append(outcome_of_problem(str(problem), f"prompt {problem}", 42, texts, judged))
        write_outcome(folder, Outcome(point, "countdown", f"run of {point.name}", 64, None, tuple(found)))
    return read_results(folder)


def a_soup():
    """How a greedy soup of the checkpoints of `make_soup` was made: two are kept, one is refused."""
    return Soup(
        objective="pass@4",
        constraints=("pass@1 >= best",),
        seed=0,
        selection_problems=3,
        confirmation_problems=3,
        steps=(
            SoupStep("three", True, 0.5, None, True, ("runs/three",)),
            SoupStep("one", True, 0.56, 0.5, True, ("runs/three", "runs/one")),
            SoupStep("two", False, 0.53, 0.56, True, ("runs/three", "runs/one")),
        ),
        chosen=SoupChoice(("runs/three", "runs/one"), 0.56, 0.52),
        against=(
            SoupRival("best single checkpoint", "three", 0.45, 0.07, 0.01, 0.13, 0.03),
            SoupRival("uniform soup", "uniform_soup of 3", 0.51, 0.01, -0.03, 0.05, 0.6),
        ),
        recipe="soup.yml",
    )
