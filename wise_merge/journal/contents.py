"""What is in a folder of journals: every run with its problems and samples, whatever file they stand in."""

import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from wise_merge.errors import WiseMergeError
from wise_merge.journal import lines
from wise_merge.journal.evaluations import Asked, Rows, joined
from wise_merge.journal.files import journal_files, lines_of
from wise_merge.journal.records import Ask, Evaluation, Problem, Run, Sample

_FILE = re.compile(r"(?P<task>.*?)-?(?P<run>[0-9a-f]{16})(?![0-9a-f]).*\.jsonl")
#: Stands for a task or a model whose line is damaged.
UNKNOWN = "?"
#: Seconds after which a process that is writing has finished its line.
_SHORTLY = 0.2


@dataclass
class KeptRun:
    """What a folder of journals holds of one run.

    Attributes:
        fingerprint: of the run.
        task: its name; if the line with it is damaged, that in the file's name.
        run: None if that line is damaged.
        problems: what evaluations ask for -> problem; those whose line is damaged are missing.
        asked: what each process asked for in each evaluation.
        samples: problem id -> index -> sample.
        files: whose names have its fingerprint, in the order in which they count.
        bytes: of these files.
        changed: when its records were last written, in seconds since 1970.
        damaged: lines of these files that hold something that could not be used.
    """

    fingerprint: str
    task: str = UNKNOWN
    run: Run | None = None
    problems: dict[Ask, Problem] = field(default_factory=dict)
    asked: list[Evaluation] = field(default_factory=list)
    samples: dict[str, dict[int, Sample]] = field(default_factory=dict)
    files: list[Path] = field(default_factory=list)
    bytes: int = 0
    changed: float = 0.0
    damaged: int = 0

    @property
    def model(self) -> str:
        """The name of the model, for people."""
        return str((self.run.model if self.run else {}).get("name") or UNKNOWN)

    def add(self, record: lines.Record) -> None:
        """Add what a record holds; of two of one kind and name the first counts."""
        content = lines.content_of(record)
        if isinstance(content, Sample):
            self.samples.setdefault(content.problem, {}).setdefault(content.index, content)
        elif isinstance(content, Problem):
            self.problems.setdefault(content.ask, content)
        elif isinstance(content, Evaluation):
            self.asked.append(content)
        elif content is not None and self.run is None:
            self.run, self.task = content, content.task


def holds_samples(directory: Path) -> bool:
    """Return whether a folder of journals holds any sample; reads no further than to the first."""
    return any(
        isinstance(lines.content_of(record), Sample)
        for path in journal_files(directory)
        for record in lines.whole_records(lines_of(path), lambda line: None)
    )


@dataclass(frozen=True)
class Contents:
    """A folder of journals.

    Attributes:
        runs: by task and name of the model.
        strange: files whose names have no fingerprint -> how many of their lines could not be used.
    """

    runs: Sequence[KeptRun]
    strange: dict[Path, int]


def read_runs(directory: Path, *, texts: bool = True) -> Contents:
    """Return all that can be read in a folder of journals.

    Args:
        directory: of journals.
        texts: False leaves the completions empty, to save memory.
    """
    runs: dict[str, KeptRun] = {}
    strange: dict[Path, int] = {}
    # A run reads only the files named after it; records in other files count after those.
    elsewhere: list[tuple[float, lines.Record]] = []
    for path in _files(directory):
        name = _FILE.fullmatch(path.name)
        own = runs.setdefault(name["run"], KeptRun(name["run"], name["task"] or UNKNOWN)) if name else None
        damaged: list[bytes] = []
        status = path.stat()
        for record in lines.whole_records(lines_of(path), damaged.append):
            if not texts and "text" in record:
                record["text"] = ""
            if own is not None and record["run"] == own.fingerprint:
                own.add(record)
            else:
                elsewhere.append((status.st_mtime, record))
        if damaged and not damaged[-1].endswith(b"\n") and _is_written(path, damaged[-1]):
            damaged.pop()
        if own is None:
            strange[path] = len(damaged)
            continue
        own.files.append(path)
        own.bytes += status.st_size
        own.changed = max(own.changed, status.st_mtime)
        own.damaged += len(damaged)
    for changed, record in elsewhere:
        kept = runs.setdefault(record["run"], KeptRun(record["run"]))
        kept.add(record)
        kept.changed = max(kept.changed, changed)
    ordered = sorted(runs.values(), key=lambda kept: (kept.task, kept.model, kept.fingerprint))
    return Contents(ordered, strange)


def _is_written(path: Path, end: bytes) -> bool:
    """Return whether a process is still writing the last line of a file."""
    # The lock is not taken to find out, as that could keep a run from taking it.
    if Path(f"{path}.lock").exists():
        time.sleep(_SHORTLY)
    last = b""
    for line in lines_of(path):
        last = line
    return last != end


def _files(directory: Path) -> list[Path]:
    if not directory.is_dir():
        what = "is a file" if directory.exists() else "does not exist"
        raise WiseMergeError(f"{directory} {what}; give the folder that --model_args journal=... named")
    files = journal_files(directory)
    if not files:
        raise WiseMergeError(f"{directory} holds no journal; one is written by --model_args journal={directory}")
    return files


def evaluations(kept: KeptRun) -> list[Rows]:
    """Return the rows of lm-eval's samples in each evaluation of a run, oldest first.

    An evaluation whose rows are all in another one is part of that one: so a run that was resumed, or
    repeated with a larger --limit, is one evaluation. Of two with the same rows the newer counts.
    """
    best: dict[frozenset[tuple[str, int | None]], Asked] = {}
    first: dict[frozenset[tuple[str, int | None]], int] = {}
    for one in _with_unasked(kept):
        pairs = frozenset(one.rows)
        best[pairs] = one
        first.setdefault(pairs, one.opened)
    whole = [pairs for pairs in best if not any(pairs < other for other in best)]
    # In the order of their first parts, so that a folder keeps its name when its evaluation grows.
    whole.sort(key=lambda pairs: min(opened for part, opened in first.items() if part <= pairs))
    return [best[pairs].rows for pairs in whole]


def _with_unasked(kept: KeptRun) -> list[Asked]:
    """Return the evaluations of a run, oldest first, with the problems whose evaluation is in a damaged line."""
    known = joined(kept.asked)
    asked = {ask for share in kept.asked for ask in share.asks}
    unasked: dict[str, Asked] = {}
    for problem in kept.problems.values():
        if problem.ask in asked:
            continue
        # Problems that were written by one evaluation belong together.
        of_launch = [one for one in known if one.id == problem.evaluation]
        if len(of_launch) == 1 and all(problem.doc_id != doc_id for _, doc_id in of_launch[0].rows):
            evaluation = of_launch[0]
        else:
            evaluation = unasked.setdefault(problem.evaluation, Asked(problem.evaluation, problem.opened, {}))
        evaluation.rows[problem.id, problem.doc_id] = problem.facts
    return sorted([*known, *unasked.values()], key=lambda one: one.opened)
