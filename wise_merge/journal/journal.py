"""The journal of one run: reads what is there, appends what is new.

Each rank of a run appends to a file of its own, `<task>-<fingerprint>-<rank>.jsonl`, and reads those of all
ranks. When `append` returns, the operating system has the record, so that killing the process
cannot lose it; it is on the disk itself about a second later.
"""

import errno
import os
import stat
import time
import uuid
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from wise_merge.errors import WiseMergeError
from wise_merge.journal import evaluations, lines, records
from wise_merge.journal.files import ends_with_a_whole_line, file_name, journal_files, lines_of
from wise_merge.journal.records import Ask, Evaluation, Problem, Run, Sample

#: Seconds between two calls of fsync.
_SYNC_EVERY = 1.0
#: Errors of fsync on file systems that do not support it.
_NO_SYNC = {errno.EINVAL, errno.ENOTSUP, errno.ENOSYS}
#: Errors where files may be read but not made.
_NOT_PERMITTED = {errno.EACCES, errno.EPERM, errno.EROFS}


class Journal:
    """The samples of a run in a folder, those that were there and those appended; made by `open`.

    Attributes:
        samples: problem id -> index -> sample, appended ones included. Of two samples of one index the first counts;
            files are read in the order of their names.
        damaged: how many lines hold something that could not be used.
        path: the file that is appended to, which is there as soon as something is.
        run: fingerprint of the run.
    """

    def __init__(self, directory: Path, run: Run, rank: int, evaluation: str) -> None:
        """Set the names and read nothing; `open` returns a journal for use."""
        self.path = directory / file_name(run, rank)
        self.samples: dict[str, dict[int, Sample]] = {}
        self.damaged = 0
        self._run, self.run = run, run.fingerprint
        self._lock = FileLock(f"{self.path}.lock", thread_local=False)
        self._file: int | None = None
        #: Whether the file may end within a line; then the next record begins on a new one.
        self._torn = False
        self._rank, self._evaluation, self._opened = rank, evaluation, time.time_ns()
        self._problems: set[Ask] = set()
        self._evaluations: list[Evaluation] = []
        #: Why nothing can be written here, as on a file system that is mounted read-only; None = it can.
        self._read_only: OSError | None = None
        self._closed = False
        self._knows_run = False
        self._sample_count = 0
        self._synced = time.monotonic()

    @classmethod
    def open(
        cls, directory: Path, run: Run, *, rank: int = 0, evaluation: str | None = None, patience: float = 0.0
    ) -> "Journal":
        """Return the journal of a run with all its samples in a folder, which is made if it does not exist.

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
            if error.errno not in _NOT_PERMITTED:
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
            for record in lines.whole_records(lines_of(path), partial(self._count_damaged, own)):
                if record["run"] == self._run.fingerprint:
                    self._take(record, own)
        # The lock is held, so no other process appends to it meanwhile.
        with suppress(FileNotFoundError):
            self._torn = not ends_with_a_whole_line(self.path)

    def _count_damaged(self, own: bool, line: bytes) -> None:
        # Another process may still be writing its last line.
        if own or line.endswith(b"\n"):
            self.damaged += 1

    def _take(self, record: lines.Record, own: bool) -> None:
        content = lines.content_of(record)
        if isinstance(content, Sample):
            self._add(content)
        elif isinstance(content, Problem):
            self._problems.add(content.ask)
        elif isinstance(content, Evaluation):
            self._evaluations.append(content)
        elif own and content is not None:
            self._knows_run = True

    def _add(self, sample: Sample) -> None:
        samples = self.samples.setdefault(sample.problem, {})
        if sample.index not in samples:
            samples[sample.index] = sample
            self._sample_count += 1

    def ask(self, problems: Iterable[tuple[str, int | None, Any, Any]]) -> None:
        """Write down what this process asks for in this evaluation; only what is not there already.

        Args:
            problems: of each (prompt, doc_id, doc, target), whether there are samples of it or not: the text that the
                model gets, its number in the task, the row of the data set, what the task takes for the right answer.
        """
        new_lines: list[bytes] = []
        asks: dict[Ask, None] = {}
        for prompt, doc_id, doc, target in problems:
            facts = records.digest(doc, target)
            identity = records.problem_id(prompt)
            problem = Problem(identity, prompt, doc_id, doc, target, facts, self._evaluation, self._opened)
            if problem.ask not in self._problems and problem.ask not in asks:
                new_lines.append(lines.problem_line(self._run.fingerprint, problem))
            asks[problem.ask] = None
        evaluation = Evaluation(self._evaluation, self._rank, self._opened, tuple(asks))
        new = bool(asks) and not self._is_known(evaluation)
        if new:
            new_lines.append(lines.evaluation_line(self._run.fingerprint, evaluation))
        if new_lines:
            self._write(b"".join(new_lines))
        self._problems.update(asks)
        self._evaluations += [evaluation] if new else []

    def _is_known(self, evaluation: Evaluation) -> bool:
        """Return whether the newest evaluation, of all its processes, asks for the same.

        All processes are compared: one problem more changes the share of one process only.
        """
        before = evaluations.joined(self._evaluations)
        asked = evaluations.rows(evaluation)
        if self._read_only is not None:
            # An evaluation that cannot be written down is known if its rows are part of any that was.
            return any(asked.items() <= one.rows.items() for one in before)
        return bool(before) and before[-1].rows == asked

    def append(self, sample: Sample) -> None:
        """Keep a sample: once this returns, it is not lost however the process ends.

        Nothing is done if there is one of its problem and index already: the first counts.
        Raises a `WiseMergeError` if it cannot be written, as when the disk is full; what was
        written before stays usable.
        """
        if sample.index in self.samples.get(sample.problem, {}):
            return
        self._write(lines.sample_line(self._run.fingerprint, sample))
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
                self._put(lines.run_line(self._run))
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
            f"are safe in it: {self._sample_count:,}; {'make room' if full else 'mend that'} and run the same command "
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
                    # Empty where not even the first line could be written.
                    if stat.S_ISREG(os.fstat(self._file).st_mode) and not os.fstat(self._file).st_size:
                        self.path.unlink()
                    os.close(self._file)
                self._file = None
            if self._lock.is_locked:
                # Removed while it is held: a process that waits for it sees that it is gone and makes another.
                with suppress(OSError):
                    os.unlink(self._lock.lock_file)
                self._lock.release()

    def __enter__(self) -> "Journal":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
