"""What came of a point on one task: every sample's answer and verdict, in the order of the samples' indices."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from wise_merge.answers.benchmarks import Judged
from wise_merge.estimators.diversity import operations
from wise_merge.journal.records import finite
from wise_merge.points.point import Point
from wise_merge.results.reading.problem import Problem
from wise_merge.results.verdicts import JudgedProblem, judged_problem
from wise_merge.tasks.completion import Completion

#: The scorer whose scores are the mean log-probabilities of the samples under the model itself.
OWN_LOGPROB = "logprob"


@dataclass(frozen=True)
class ProblemOutcome:
    """The n samples of one problem; sequences are parallel, sample 0 first.

    Attributes:
        id: of the problem in its task, as text.
        prompt: id of its prompt in the journal.
        gold: what answers are compared with, as text.
        correct: the verdict on each sample.
        answers: the vote of each sample, equal for equal answers, None for none.
        logprobs: mean log-probability of each sample's tokens in nats, None = unknown.
        distinct: how many different completions there are.
        operations: how many samples have each sequence of arithmetic operators, descending.
        cut_off: how many samples were cut at the longest completion allowed.
        tokens: of all samples.
    """

    id: str
    prompt: str
    gold: str
    correct: tuple[bool, ...]
    answers: tuple[str | None, ...]
    logprobs: tuple[float | None, ...]
    distinct: int
    operations: tuple[int, ...]
    cut_off: int
    tokens: int

    @property
    def n(self) -> int:
        """How many samples there are."""
        return len(self.correct)


@dataclass(frozen=True)
class Outcome:
    """What came of a point on a task.

    Attributes:
        point: see there.
        task: its name.
        run: fingerprint of the run in the journal that holds the samples.
        max_tokens: of the longest completion allowed, None = unknown.
        stopped: why the point has fewer samples than asked for ("interval" or "dominated"), None = it has all.
        problems: in the order of the task.
        limit: only the first so many problems were asked for, None = all.
        judged_by: the metric and task of lm-eval whose verdicts these are, None = one of our benchmarks judged.
    """

    point: Point
    task: str
    run: str
    max_tokens: int | None
    stopped: str | None
    problems: tuple[ProblemOutcome, ...]
    limit: int | None = None
    judged_by: str | None = None

    @property
    def n(self) -> int:
        """The fewest samples of a problem."""
        return min((problem.n for problem in self.problems), default=0)

    def facts(self) -> tuple[JudgedProblem, ...]:
        """Return what all figures are made of (`wise_merge.results.summary`), in the order of the problems."""
        # With gaps the scores cannot rank, so they are dropped, as in the journal's export.
        known = all(logprob is not None for problem in self.problems for logprob in problem.logprobs)
        return tuple(_facts(problem, ranked=known) for problem in self.problems)


def outcome_of_problem(
    id: str, prompt: str, gold: str, completions: Sequence[Completion], judged: Judged
) -> ProblemOutcome:
    """Return the outcome of a problem from its samples, in the order of their indices, and the verdicts on them."""
    return ProblemOutcome(
        id=id,
        prompt=prompt,
        gold=gold,
        correct=judged.correct,
        answers=judged.answers,
        # The journal stores non-finite values as None, and the same samples are read from it the next time.
        logprobs=tuple(finite(completion.logprob) for completion in completions),
        distinct=len(set(map(str, completions))),
        operations=_counts([operations(str(completion)) for completion in completions]),
        cut_off=sum(completion.finish_reason == "length" for completion in completions),
        tokens=sum(completion.tokens for completion in completions),
    )


def _counts(items: Sequence[str]) -> tuple[int, ...]:
    return tuple(sorted((items.count(item) for item in set(items)), reverse=True))


def _facts(problem: ProblemOutcome, *, ranked: bool) -> JudgedProblem:
    scores: dict[str, tuple[float, ...]] = {}
    if ranked:
        scores[OWN_LOGPROB] = tuple(logprob for logprob in problem.logprobs if logprob is not None)
    as_read = Problem(
        problem.id,
        problem.gold,
        "",
        problem.n,
        problem.answers,
        None,
        scores,
        None,
        problem.distinct,
        problem.operations,
        problem.cut_off,
    )
    return judged_problem(as_read, problem.answers, problem.correct)


def to_json(outcome: Outcome) -> dict[str, Any]:
    """Return an outcome without its point in JSON's types."""
    return {
        "task": outcome.task,
        "run": outcome.run,
        "max_tokens": outcome.max_tokens,
        "stopped": outcome.stopped,
        "limit": outcome.limit,
        **({} if outcome.judged_by is None else {"judged_by": outcome.judged_by}),
        "problems": [
            {
                "id": problem.id,
                "prompt": problem.prompt,
                "gold": problem.gold,
                "correct": "".join("01"[right] for right in problem.correct),
                "answers": problem.answers,
                "logprobs": problem.logprobs,
                "distinct": problem.distinct,
                "operations": problem.operations,
                "cut_off": problem.cut_off,
                "tokens": problem.tokens,
            }
            for problem in outcome.problems
        ],
    }


def from_json(point: Point, written: Mapping[str, Any]) -> Outcome:
    """Return the outcome of a point that `to_json` has written."""
    return Outcome(
        point,
        written["task"],
        written["run"],
        written["max_tokens"],
        written["stopped"],
        tuple(
            ProblemOutcome(
                id=problem["id"],
                prompt=problem["prompt"],
                gold=problem["gold"],
                correct=tuple(digit == "1" for digit in problem["correct"]),
                answers=tuple(problem["answers"]),
                logprobs=tuple(problem["logprobs"]),
                distinct=problem["distinct"],
                operations=tuple(problem["operations"]),
                cut_off=problem["cut_off"],
                tokens=problem["tokens"],
            )
            for problem in written["problems"]
        ),
        written["limit"],
        written.get("judged_by"),
    )
