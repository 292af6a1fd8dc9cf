"""The samples behind the numbers: the first few of each problem and point, as the journal holds them.

Completions of a real task are long and points are many, so there is a limit to all texts together. It is kept by
fewer samples first, then by leaving out the middle of the longest, as the answer stands at the end.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wise_merge.journal import lines, records
from wise_merge.journal.files import journal_files, lines_of
from wise_merge.points.outcome import Outcome

#: Limit of characters of all completions together; compressed, they take at most half as much of the page.
MOST = 20_000_000
#: Rather than cut completions below this many characters, fewer of them are kept.
_READABLE = 1_000
#: Characters per token, roughly.
_PER_TOKEN = 4
#: The end of a prompt is the problem itself; what comes before are worked examples.
_LONGEST_PROMPT = 3_000
#: Number of verdicts kept per problem and point.
_VERDICTS = 64


@dataclass(frozen=True)
class Text:
    """A text, or its beginning and its end where `left_out` characters between them are."""

    head: str
    left_out: int = 0
    tail: str = ""


@dataclass(frozen=True)
class Sample:
    """One completion, whether it was cut at the longest allowed, its answer and the verdict on it."""

    text: Text
    cut_off: bool
    answer: str | None
    correct: bool


@dataclass(frozen=True)
class Behind:
    """What stands behind the number of a problem and a point: the first verdicts as 0 and 1, and the first samples."""

    verdicts: str
    samples: tuple[Sample, ...]


@dataclass(frozen=True)
class ProblemTexts:
    """The texts of a problem: its prompt, None if the journal has none, and what is behind each run's number."""

    prompt: Text | None
    behind: Mapping[str, Behind]


@dataclass(frozen=True)
class Texts:
    """The texts of a sweep.

    Attributes:
        of: task and problem id -> its texts.
        samples: how many of each problem and point there are at most.
        asked: how many there were to be.
        whole: completions that are there as they were drawn.
        shortened: completions without their middle.
        missing: completions that the journal should have and has not.
    """

    of: Mapping[tuple[str, str], ProblemTexts]
    samples: int
    asked: int
    whole: int
    shortened: int
    missing: int


#: Passes items on, and may show progress.
Watch = Callable[[Collection[Any]], Iterable[Any]]


@dataclass
class _Held:
    """What is kept of a journal: (run, prompt) -> index -> text and whether it was cut off; prompt -> its text."""

    samples: dict[tuple[str, str], dict[int, tuple[Text, bool]]] = field(default_factory=dict)
    prompts: dict[str, Text] = field(default_factory=dict)


def texts_of(
    outcomes: Sequence[Outcome], journal: Path, samples: int, *, watch: Watch = lambda items: items, most: int = MOST
) -> Texts:
    """Return the first samples of each problem and point.

    Args:
        outcomes: whose samples are wanted; those of one run, as where several pairs share their early checkpoint,
            are kept once.
        journal: the folder of journals; without it there are verdicts but no texts.
        samples: of each problem and point, at most.
        watch: sees the journal's files pass.
        most: characters of all completions together.
    """
    runs = {outcome.run: outcome for outcome in sorted(outcomes, key=lambda outcome: outcome.n)}
    problems = [problem for outcome in runs.values() for problem in outcome.problems]
    asked = samples
    # Short completions need no reduction of their number.
    tokens = sum(problem.tokens for problem in problems) / max(1, sum(problem.n for problem in problems))
    readable = min(_READABLE, tokens * _PER_TOKEN)
    while samples > 1 and samples * len(problems) * readable > most:
        samples //= 2
    # Cut to eight times the mean room while reading, so that memory is bounded; the exact limit follows below.
    held = _read(journal, runs, samples, 8 * max(1, most // max(1, samples * len(problems))), watch)
    sizes = [_size(text) for kept in held.samples.values() for text, _ in kept.values()]
    longest = _longest(sizes, most)
    of: dict[tuple[str, str], ProblemTexts] = {}
    for run, outcome in runs.items():
        for problem in outcome.problems:
            kept = held.samples.get((run, problem.prompt), {})
            chosen = tuple(
                Sample(_cut(kept[index][0], longest), kept[index][1], problem.answers[index], problem.correct[index])
                for index in range(min(samples, problem.n))
                if index in kept
            )
            verdicts = "".join("01"[right] for right in problem.correct[:_VERDICTS])
            before = of.get((outcome.task, problem.id))
            behind = {**(before.behind if before else {}), run: Behind(verdicts, chosen)}
            of[outcome.task, problem.id] = ProblemTexts(held.prompts.get(problem.prompt), behind)
    expected = sum(min(samples, problem.n) for outcome in runs.values() for problem in outcome.problems)
    all_texts = [one.text for problem in of.values() for behind in problem.behind.values() for one in behind.samples]
    shortened = sum(text.left_out > 0 for text in all_texts)
    return Texts(of, samples, asked, len(all_texts) - shortened, shortened, expected - len(all_texts))


def _read(journal: Path, runs: Collection[str], samples: int, longest: int, watch: Watch) -> _Held:
    """Return the first samples of each problem, file by file, so that the rest never has to be in memory."""
    held = _Held()
    if not journal.is_dir() or not samples:
        return held
    for path in watch(journal_files(journal)):
        for record in lines.whole_records(lines_of(path), lambda line: None):
            if record["run"] not in runs:
                continue
            content = lines.content_of(record)
            if isinstance(content, records.Sample) and content.index < samples:
                kept = held.samples.setdefault((record["run"], content.problem), {})
                # If an index occurs twice, the first counts, as in the sweep.
                kept.setdefault(content.index, (_cut(Text(content.text), longest), content.finish_reason == "length"))
            elif isinstance(content, records.Problem) and content.id not in held.prompts:
                left_out = max(0, len(content.prompt) - _LONGEST_PROMPT)
                held.prompts[content.id] = Text("", left_out, content.prompt[left_out:])
    return held


def _size(text: Text) -> int:
    return len(text.head) + len(text.tail)


def _cut(text: Text, longest: int) -> Text:
    """Return the text with so many characters at most, two fifths of them at its beginning."""
    more = _size(text) - longest
    if more <= 0:
        return text
    head = longest * 2 // 5
    tail = text.tail if text.left_out else text.head
    return Text(text.head[:head], text.left_out + more, tail[len(tail) - (longest - head) :])


def _longest(sizes: Sequence[int], most: int) -> int:
    """Return how long the longest may be so that all together have `most` characters and the short ones stay whole."""
    left = most
    for place, size in enumerate(sorted(sizes)):
        share = left // (len(sizes) - place)
        if size > share:
            return max(1, share)
        left -= size
    return max(sizes, default=1)
