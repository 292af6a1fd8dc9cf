"""Which samples are right and which answers are one vote: judged by a benchmark, or as the file says."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from wise_merge.answers import benchmarks
from wise_merge.errors import WiseMergeError
from wise_merge.estimators.majority import count_votes
from wise_merge.results.reading.problem import Problem, Samples
from wise_merge.text import counted


@dataclass(frozen=True)
class JudgedProblem:
    """The n judged samples of one problem, from which all figures are computed, sorted by answer.

    Attributes:
        id: of the problem.
        gold: what answers are compared with, as text; None if the file has none.
        correct: the verdict on each sample.
        answers: the vote of each sample, equal for equal answers, None for no vote; None if nothing tells.
        scores: from scorer to one score per sample.
        distinct: how many different completions there are, None if the file has no completions.
        operations: how many samples have each sequence of arithmetic operators, None likewise.
        cut_off: how many samples were cut at the longest completion allowed, None if the file does not say of all.
    """

    id: str
    gold: str | None
    correct: tuple[bool, ...]
    answers: tuple[str | None, ...] | None
    scores: Mapping[str, tuple[float, ...]]
    distinct: int | None
    operations: tuple[int, ...] | None
    cut_off: int | None = None

    @property
    def n(self) -> int:
        """How many samples there are."""
        return len(self.correct)

    @property
    def c(self) -> int:
        """How many of them are correct."""
        return sum(self.correct)


@dataclass(frozen=True)
class Agreement:
    """How our verdicts compare with those in the file, in numbers of samples."""

    samples: int
    both_right: int
    both_wrong: int
    only_ours_right: int
    only_theirs_right: int


@dataclass(frozen=True)
class Verdicts:
    """Every problem, judged, and how far our verdicts agree with those of the file, if it has any.

    `by_file` says that they are those of the file, and not ours.
    """

    problems: tuple[JudgedProblem, ...]
    agreement: Agreement | None
    notes: tuple[str, ...]
    by_file: bool = False


def judge(samples: Samples, *, processes: int | None = None) -> Verdicts:
    """Return all problems of a file, judged.

    Args:
        samples: as read; if the verdicts of the file count, they are taken.
        processes: that may be used; None means one per core.
    """
    if samples.file_verdicts:
        return _as_the_file_says(samples, processes)
    assert samples.benchmark is not None
    judged = benchmarks.classify(
        samples.benchmark,
        [problem.gold for problem in samples.problems],
        [problem.answers or () for problem in samples.problems],
        processes=processes,
    )
    tally: Counter[tuple[bool, bool]] = Counter()
    problems = []
    for problem, verdict in zip(samples.problems, judged, strict=True):
        problems.append(judged_problem(problem, verdict.answers, verdict.correct))
        if problem.labels is not None:
            pairs = zip(verdict.correct, problem.labels, strict=True)
            tally.update((ours, theirs) for ours, theirs in pairs if theirs is not None)
    agreement = Agreement(tally.total(), tally[True, True], tally[False, False], tally[True, False], tally[False, True])
    return Verdicts(tuple(problems), agreement if tally else None, ())


def _as_the_file_says(samples: Samples, processes: int | None) -> Verdicts:
    by_benchmark = [
        problem for problem in samples.problems if samples.benchmark and problem.gold is not None and problem.answers
    ]
    votes: dict[str, tuple[str | None, ...] | None] = {problem.id: problem.answers for problem in samples.problems}
    if samples.benchmark and by_benchmark:
        judged = benchmarks.classify(
            samples.benchmark,
            [problem.gold for problem in by_benchmark],
            [problem.answers or () for problem in by_benchmark],
            processes=processes,
        )
        votes.update((problem.id, verdict.answers) for problem, verdict in zip(by_benchmark, judged, strict=True))
    problems = []
    conflicts = 0
    for problem in samples.problems:
        if problem.labels is None:
            raise WiseMergeError(f"{samples.path}: problem {problem.id} has no verdicts")
        labels = [bool(label) for label in problem.labels]
        judged_one = judged_problem(problem, votes[problem.id], labels)
        conflicts += bool(judged_one.answers and count_votes(judged_one.answers, judged_one.correct).mixed)
        problems.append(judged_one)
    notes = []
    if conflicts:
        notes.append(
            f"in {counted(conflicts, 'problem')} the file calls equal answers both right and wrong; "
            "such an answer earns the share of its samples that are right"
        )
    if votes and all(vote is None for vote in votes.values()):
        notes.append("the file has neither completions nor answers, so there is no vote")
    return Verdicts(tuple(problems), None, tuple(notes), by_file=True)


def judged_problem(
    problem: Problem, answers: tuple[str | None, ...] | None, correct: "list[bool] | tuple[bool, ...]"
) -> JudgedProblem:
    """Return a problem with the verdicts on its samples."""
    votes = answers if answers is not None else (None,) * problem.n
    scorers = sorted(problem.scores)
    samples = sorted(
        zip(votes, correct, *(problem.scores[scorer] for scorer in scorers), strict=True),
        # No figure may depend on the order of samples, nor may the draws of a Monte-Carlo estimate.
        key=lambda sample: (sample[0] is None, sample[0] or "", *sample[1:]),
    )
    votes, correct, *scores = zip(*samples, strict=True)
    return JudgedProblem(
        problem.id,
        None if problem.gold is None else str(problem.gold),
        tuple(correct),
        None if answers is None else tuple(votes),
        dict(zip(scorers, map(tuple, scores), strict=True)),
        problem.distinct,
        problem.operations,
        problem.cut_off,
    )
