"""The journal of one run: reads what is there, appends what is new.

Each rank of a run appends to a file of its own, `<task>-<fingerprint>-<rank>.jsonl`, and reads those of all
ranks. A record is in the hands of the operating system when `append` returns, so no kill of the process
can lose it; it is on the disk itself about a second later.
"""

import errno
import os
import re
import stat
import time
import uuid
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from wise_merge.errors import WiseMergeError
from wise_merge.journal import evaluations, records
from wise_merge.journal.records import Ask, Evaluation, Problem, Run, Sample

#: Seconds between two times that what was appended is forced to the disk.
_SYNC_EVERY = 1.0
_LONGEST_NAME = 100
#: What file systems answer that cannot force anything to a disk.
_NO_SYNC = {errno.EINVAL, errno.ENOTSUP, errno.ENOSYS}
#: What they answer where a file may be read but none be made.
_MAY_NOT = {errno.EACCES, errno.EPERM, errno.EROFS}


class Journal:
    """The samples of a run in a folder, those found there and those appended; made by `open`.

    Attributes:
        found: problem id -> index -> sample, appended ones included. Of two samples of one index the first counts;
            files are read in the order of their names.
        damaged: how many lines hold something that could not be used.
        path: the file that is appended to, which is there as soon as something is.
        run: fingerprint of the run.
    """

    def __init__(self, directory: Path, run: Run, rank: int, evaluation: str) -> None:
        """Take note of the names; `open` is for use."""
        self.path = directory / file_name(run, rank)
        self.found: dict[str, dict[int, Sample]] = {}
        self.damaged = 0
        self._run, self.run = run, run.fingerprint
        self._lock = FileLock(f"{self.path}.lock", thread_local=False)
        self._file: int | None = None
        #: Whether the file may end within a line.
        self._torn = False
        self._rank, self._evaluation, self._opened = rank, evaluation, time.time_ns()
        self._problems: set[Ask] = set()
        self._evaluations: list[Evaluation] = []
        #: Why nothing can be written here, as on a file system that is mounted to be read.
        self._read_only: OSError | None = None
        self._closed = False
        self._knows_run = False
        self._samples = 0
        self._synced = time.monotonic()

    @classmethod
    def open(
        cls, directory: Path, run: Run, *, rank: int = 0, evaluation: str | None = None, patience: float = 0.0
    ) -> "Journal":
        """Return the journal of a run in a folder, which is made if need be, with all that is in it.

        No other process can open the same until this one closes it or ends, however it ends. In a folder that
        cannot be written to, what is there can be used; the first thing to write raises a `WiseMergeError`.

        Args:
            directory: of journals, of any number of runs.
            run: whose samples are wanted.
            rank: of this process among those that share the run's problems.
            evaluation: an id that all these processes give; None makes one, which is right for one process.
            patience: seconds to wait where another process has it open, such as one that is just being ended.
        """
        try:
            directory.mkdir(parents=True, exist_ok=True)
        except FileExistsError as error:
            raise WiseMergeError(f"the journal {directory} is a file; a journal is a folder of its own") from error
        except OSError as error:
            raise WiseMergeError(f"the journal {directory} cannot be made: {error.strerror or error}") from error
        journal = cls(directory, run, rank, evaluation or uuid.uuid4().hex)
        journal._take_lock(patience)
        try:
            journal._read()
        except BaseException:
            journal.close()
            raise
        return journal

    def _take_lock(self, patience: float) -> None:
        try:
            self._lock.acquire(timeout=patience)
        except Timeout as error:
            raise WiseMergeError(
                f"the journal {self.path.parent} is in use by another process that samples {self._run.task} with the "
                "same model and settings; wait until it ends or stop it, then run this command again: it goes on there"
            ) from error
        except OSError as error:
            if error.errno not in _MAY_NOT:
                raise self._no_folder_to_write(error) from error
            self._read_only = error

    def _no_folder_to_write(self, error: OSError) -> WiseMergeError:
        return WiseMergeError(
            f"the journal {self.path.parent} cannot be written to: {error.strerror or error}; "
            "make it writable or choose another folder"
        )

    def _read(self) -> None:
        for path in journal_files(self.path.parent):
            if self._run.fingerprint not in path.name:
                continue
            own = path == self.path and self._read_only is None
            for record in records.records(lines_of(path), partial(self._count, own)):
                if record["run"] == self._run.fingerprint:
                    self._take(record, own)
        # The lock is held, so nobody makes it longer meanwhile.
        with suppress(FileNotFoundError):
            self._torn = not _ends_a_line(self.path)

    def _count(self, own: bool, line: bytes) -> None:
        # The last line of another process may be still on its way.
        if own or line.endswith(b"\n"):
            self.damaged += 1

    def _take(self, record: records.Record, own: bool) -> None:
        found = records.content(record)
        if isinstance(found, Sample):
            self._add(found)
        elif isinstance(found, Problem):
            self._problems.add(found.ask)
        elif isinstance(found, Evaluation):
            self._evaluations.append(found)
        elif own and found is not None:
            self._knows_run = True

    def _add(self, sample: Sample) -> None:
        samples = self.found.setdefault(sample.problem, {})
        if sample.index not in samples:
            samples[sample.index] = sample
            self._samples += 1

    def ask(self, problems: Iterable[tuple[str, int | None, Any, Any]]) -> None:
        """Write down what this process asks for in this evaluation; only what is not there already.

        Args:
            problems: of each (prompt, doc_id, doc, target), whether there are samples of it or not: the text that the
                model gets, its number in the task, the row of the data set, what the task takes for the right answer.
        """
        lines: list[bytes] = []
        asks: dict[Ask, None] = {}
        for prompt, doc_id, doc, target in problems:
            facts = records.digest(doc, target)
            identity = records.problem_id(prompt)
            problem = Problem(identity, prompt, doc_id, doc, target, facts, self._evaluation, self._opened)
            if problem.ask not in self._problems and problem.ask not in asks:
                lines.append(records.problem_line(self._run.fingerprint, problem))
            asks[problem.ask] = None
        evaluation = Evaluation(self._evaluation, self._rank, self._opened, tuple(asks))
        new = bool(asks) and not self._is_known(evaluation)
        if new:
            lines.append(records.evaluation_line(self._run.fingerprint, evaluation))
        if lines:
            self._write(b"".join(lines))
        self._problems.update(asks)
        self._evaluations += [evaluation] if new else []

    def _is_known(self, evaluation: Evaluation) -> bool:
        """Return whether the newest evaluation, of all its processes, asks for the same.

        A share alone does not tell: with one problem more, the shares of the other processes stay what they were.
        """
        before = evaluations.joined(self._evaluations)
        asked = evaluations.rows(evaluation)
        if self._read_only is not None:
            # Then it would show in no export.
            return any(asked.items() <= one.rows.items() for one in before)
        return bool(before) and before[-1].rows == asked

    def append(self, sample: Sample) -> None:
        """Keep a sample: no end of this process can lose it once this returns.

        Nothing is done if there is one of its problem and index already: the first counts.
        Raises a `WiseMergeError` if it cannot be written, as when the disk is full; what was
        written before stays usable.
        """
        if sample.index in self.found.get(sample.problem, {}):
            return
        self._write(records.sample_line(self._run.fingerprint, sample))
        self._add(replace(sample, logprob=records.finite(sample.logprob)))

    def _write(self, line: bytes) -> None:
        if self._closed:
            raise ValueError(f"{self.path} is closed")
        if self._read_only is not None:
            raise self._no_folder_to_write(self._read_only) from self._read_only
        try:
            if self._file is None:
                flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_BINARY", 0)
                self._file = os.open(self.path, flags, 0o666)
            if not self._knows_run:
                self._put(records.run_line(self._run))
                self._knows_run = True
            self._put(line)
            if time.monotonic() - self._synced >= _SYNC_EVERY:
                self._sync()
        except OSError as error:
            raise self._cannot_write(error) from error

    def _put(self, line: bytes) -> None:
        assert self._file is not None
        length = os.fstat(self._file).st_size
        torn, self._torn = self._torn, True
        rest = memoryview(b"\n" + line if torn else line)
        try:
            while rest:
                rest = rest[os.write(self._file, rest) :]
        except BaseException:
            with suppress(OSError):
                os.ftruncate(self._file, length)
                self._torn = torn
            raise
        self._torn = False

    def _sync(self) -> None:
        if self._file is None:
            return
        try:
            os.fsync(self._file)
        except OSError as error:
            if error.errno not in _NO_SYNC:
                raise
        self._synced = time.monotonic()

    def _cannot_write(self, error: OSError) -> WiseMergeError:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        return WiseMergeError(
            f"the journal {self.path} cannot be written: {error.strerror or error}; samples of {self._run.task} that "
            f"are safe in it: {self._samples:,}; {'make room' if full else 'mend that'} and run the same command "
            "again: it goes on there"
        )

    def close(self) -> None:
        """Force everything to the disk and let other processes open this journal; a second time does nothing.

        Raises a `WiseMergeError` if the disk refuses.
        """
        try:
            self._sync()
        except OSError as error:
            raise self._cannot_write(error) from error
        finally:
            self._closed = True
            if self._file is not None:
                with suppress(OSError):
                    # As when not even the first line found room.
                    if stat.S_ISREG(os.fstat(self._file).st_mode) and not os.fstat(self._file).st_size:
                        self.path.unlink()
                    os.close(self._file)
                self._file = None
            if self._lock.is_locked:
                # While it is held: who waits for it sees that it is gone and makes another.
                with suppress(OSError):
                    os.unlink(self._lock.lock_file)
                self._lock.release()

    def __enter__(self) -> "Journal":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def file_name(run: Run, rank: int) -> str:
    """Return the name of the file of a rank; what tells runs apart in it is the fingerprint alone."""
    task = re.sub(r"[^A-Za-z0-9_.+-]+", "_", run.task).lstrip(".")[:_LONGEST_NAME]
    return f"{task or 'task'}-{run.fingerprint}-{rank}.jsonl"


def journal_files(directory: Path) -> list[Path]:
    """Return the files of a folder of journals, by name: the order in which they count."""
    return sorted(path for path in directory.glob("*.jsonl") if path.is_file())


def lines_of(path: Path) -> Iterator[bytes]:
    """Yield the lines of a file, as they are."""
    try:
        with path.open("rb") as file:
            for line in file:
                yield line
                # Another process may write on meanwhile: its next line would begin in the middle.
                if not line.endswith(b"\n"):
                    return
    except OSError as error:
        raise WiseMergeError(f"the journal {path} cannot be read: {error.strerror or error}") from error


def _ends_a_line(path: Path) -> bool:
    with path.open("rb") as file:
        if not file.seek(0, os.SEEK_END):
            return True
        file.seek(-1, os.SEEK_END)
        return file.read(1) == b"\n"
