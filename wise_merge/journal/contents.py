"""What is in a folder of journals: every run with its problems and samples, whatever file they stand in."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from wise_merge.errors import WiseMergeError
from wise_merge.journal import records
from wise_merge.journal.book import journal_files, lines_of
from wise_merge.journal.records import Problem, Run, Sample

_FILE = re.compile(r"(?P<task>.*?)-?(?P<run>[0-9a-f]{16})(?![0-9a-f]).*\.jsonl")
#: The settings that a line has room for, in lm-eval's and in vLLM's words.
_SHOWN = (
    *("do_sample", "temperature", "top_p", "top_k", "min_p", "seed"),
    *("max_gen_toks", "max_new_tokens", "max_tokens", "max_completion_tokens"),
)
_LEFT = ("run", "task", "model", "settings")
_UNKNOWN = "?"


@dataclass
class Kept:
    """What a folder of journals holds of one run.

    Attributes:
        fingerprint: of the run.
        task: its name; where the line that says so is damaged, what the file is called after.
        run: None if that line is damaged.
        problems: problem id -> problem; those whose line is damaged are missing.
        samples: problem id -> index -> sample.
        files: that are called after it, in the order in which they count.
        bytes: of these files.
        changed: when its records were last written, in seconds since 1970.
        damaged: lines of these files that hold something that could not be used.
    """

    fingerprint: str
    task: str = _UNKNOWN
    run: Run | None = None
    problems: dict[str, Problem] = field(default_factory=dict)
    samples: dict[str, dict[int, Sample]] = field(default_factory=dict)
    files: list[Path] = field(default_factory=list)
    bytes: int = 0
    changed: float = 0.0
    damaged: int = 0

    @property
    def model(self) -> str:
        """The name of the model, for people."""
        return str((self.run.model if self.run else {}).get("name") or _UNKNOWN)

    def take(self, record: records.Record) -> None:
        """Add what a record holds; of two of one kind and name the first counts."""
        if record["kind"] == "sample":
            sample = records.as_sample(record)
            if sample is not None:
                self.samples.setdefault(sample.problem, {}).setdefault(sample.index, sample)
        elif record["kind"] == "problem":
            problem = records.as_problem(record)
            if problem is not None:
                self.problems.setdefault(problem.id, problem)
        elif self.run is None:
            self.run = records.as_run(record)
            if self.run is not None:
                self.task = self.run.task


@dataclass(frozen=True)
class Contents:
    """A folder of journals.

    Attributes:
        runs: by task and name of the model.
        strange: files that are called after no run -> how many of their lines hold something that could not be used.
    """

    runs: Sequence[Kept]
    strange: dict[Path, int]


def read_runs(directory: Path, *, texts: bool = True) -> Contents:
    """Return all that can be read in a folder of journals.

    Args:
        directory: of journals.
        texts: False leaves the completions empty, to save memory.
    """
    runs: dict[str, Kept] = {}
    strange: dict[Path, int] = {}
    # A run itself reads the files called after it only: they count first here, too.
    elsewhere: list[tuple[float, records.Record]] = []
    for path in _files(directory):
        name = _FILE.fullmatch(path.name)
        own = runs.setdefault(name["run"], Kept(name["run"], name["task"] or _UNKNOWN)) if name else None
        damaged: list[int] = []
        status = path.stat()
        for record in records.records(lines_of(path), partial(_count, damaged)):
            if not texts and "text" in record:
                record["text"] = ""
            if own is not None and record["run"] == own.fingerprint:
                own.take(record)
            else:
                elsewhere.append((status.st_mtime, record))
        if own is None:
            strange[path] = len(damaged)
            continue
        own.files.append(path)
        own.bytes += status.st_size
        own.changed = max(own.changed, status.st_mtime)
        own.damaged += len(damaged)
    for changed, record in elsewhere:
        kept = runs.setdefault(record["run"], Kept(record["run"]))
        kept.take(record)
        kept.changed = max(kept.changed, changed)
    ordered = sorted(runs.values(), key=lambda kept: (kept.task, kept.model, kept.fingerprint))
    return Contents(ordered, strange)


def table(contents: Contents) -> str:
    """Return the runs for people and pipes: a line each, aligned, without blanks within a cell."""
    head = [*_LEFT, "problems", "samples", "n", "truncated", "tokens", "bytes", "damaged"]
    rows = [head, *map(_row, contents.runs)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = [
            f"{cell:<{width}}" if name in _LEFT else f"{cell:>{width}}"
            for name, cell, width in zip(head, row, widths, strict=True)
        ]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def remarks(contents: Contents) -> list[str]:
    """Return what the reader of the table should know, in sentences."""
    found: list[str] = []
    for kept in contents.runs:
        if kept.damaged:
            files = ", ".join(path.name for path in kept.files)
            found.append(f"{files}: {_lines(kept.damaged)} damaged and left out, such as of a run that was killed")
        if kept.run is None:
            found.append(
                f"run {kept.fingerprint}: what it was drawn with stands in no line; the command that wrote it, run "
                "again, writes it anew"
            )
        count = len(evaluations(kept))
        if count > 1:
            found.append(f"run {kept.fingerprint}: {count} evaluations with different prompts; --export parts them")
    for path, damaged in contents.strange.items():
        found.append(
            f"{path.name}: its name has no run's fingerprint, so no run goes on there; {_lines(damaged)} damaged"
        )
    return found


def _lines(count: int) -> str:
    return "1 line is" if count == 1 else f"{count} lines are"


def short_settings(kept: Kept) -> str:
    """Return the settings of a run that matter most, such as temperature=1,top_p=0.95,seed=1234."""
    settings = kept.run.settings if kept.run else {}
    shown = [
        f"{name}={_one_word(settings[name])}"
        for name in _SHOWN
        # Sampling is what is expected.
        if settings.get(name) is not None and (name, settings[name]) != ("do_sample", True)
    ]
    return ",".join(shown) or _UNKNOWN


def _row(kept: Kept) -> list[str]:
    samples = [sample for found in kept.samples.values() for sample in found.values()]
    truncated = sum(sample.finish_reason == "length" for sample in samples)
    return [
        kept.fingerprint,
        _one_word(kept.task),
        _one_word(kept.model),
        short_settings(kept),
        str(len(kept.problems.keys() | kept.samples.keys())),
        str(len(samples)),
        _range([len(kept.samples.get(problem, ())) for problem in kept.problems.keys() | kept.samples.keys()]),
        f"{100 * truncated / len(samples):.1f}%" if samples else "-",
        str(sum(sample.tokens for sample in samples)),
        str(kept.bytes),
        str(kept.damaged),
    ]


def _range(counts: Sequence[int]) -> str:
    low, high = min(counts, default=0), max(counts, default=0)
    return str(low) if low == high else f"{low}-{high}"


def _one_word(value: Any) -> str:
    """Return the value without blanks and what a terminal would obey."""
    text = "_".join(str(value).split())
    return "".join(letter if letter.isprintable() else "_" for letter in text) or _UNKNOWN


def _count(damaged: list[int], line: bytes) -> None:
    damaged.append(len(line))


def _files(directory: Path) -> list[Path]:
    if not directory.is_dir():
        what = "is a file" if directory.exists() else "does not exist"
        raise WiseMergeError(f"{directory} {what}; give the folder that --model_args journal=... named")
    files = journal_files(directory)
    if not files:
        raise WiseMergeError(f"{directory} holds no journal; one is written by --model_args journal={directory}")
    return files


def evaluations(kept: Kept) -> list[list[Problem]]:
    """Return the problems of a run such that no two of a list have one number: one list, unless its prompts changed.

    A task with another number of worked examples has other prompts for the same problems. Problems that
    were written down together stay together.
    """
    opened: dict[int, list[Problem]] = {}
    for problem in kept.problems.values():
        opened.setdefault(problem.opened, []).append(problem)
    lists: list[list[Problem]] = []
    for _, together in sorted(opened.items()):
        numbers = {problem.doc_id for problem in together} - {None}
        for other in lists:
            if numbers.isdisjoint(problem.doc_id for problem in other):
                other += together
                break
        else:
            lists.append(together)
    return lists
