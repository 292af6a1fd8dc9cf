"""The lines of a journal: JSON objects in ASCII that begin with their own checksum.

{"crc":"1c291ca3","run":"0123456789abcdef","kind":"sample",...}

The CRC-32 is that of everything behind its comma up to the closing brace. Each line names its run, so a
file that was cut, doubled, put behind another or damaged anywhere gives back exactly the records that are whole.
"""

import json
import re
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from itertools import pairwise
from sys import intern
from typing import Any
from zlib import crc32

from wise_merge.errors import WiseMergeError
from wise_merge.journal.records import FORMAT, Ask, Evaluation, Problem, Run, Sample, encode, finite, plain

_BOM = b"\xef\xbb\xbf"
_HEAD = b'{"crc":"'
#: How every line begins. Within a text the quotes would be escaped.
_BEGINNING = re.compile(rb'\{"crc":"[0-9a-f]{8}","run":"[0-9a-f]{16}","kind":"')
_CRC_ENDS = len(_HEAD) + 8
_SUMMED = _CRC_ENDS + 2
#: Between the two halves of a surrogate pair: JSON would make one character of them.
_HALVES = re.compile("(?<=[\ud800-\udbff])(?=[\udc00-\udfff])")
#: The fields of a problem's line.
_PROBLEM = ("problem", "prompt", "doc_id", "doc", "target", "facts", "evaluation", "opened")
_decode = json.JSONDecoder().raw_decode

#: A record as it was written, without its checksum; which of the four is told by "kind".
Record = dict[str, Any]


def run_line(run: Run) -> bytes:
    """Return the line that says what the samples of a run share."""
    facts = {"format": FORMAT, "task": run.task, "model": run.model, "settings": run.settings}
    if run.judged_by is not None:
        facts["judged_by"] = run.judged_by
    return _line(run.fingerprint, "run", facts)


def problem_line(fingerprint: str, problem: Problem) -> bytes:
    """Return the line of a problem; values in its doc that JSON lacks are written as texts."""
    facts = {name: getattr(problem, name) for name in _PROBLEM[1:]}
    return _line(fingerprint, "problem", {"problem": problem.id, **facts})


def evaluation_line(fingerprint: str, evaluation: Evaluation) -> bytes:
    """Return the line of an evaluation."""
    facts = {"evaluation": evaluation.id, "rank": evaluation.rank, "opened": evaluation.opened, "asks": evaluation.asks}
    return _line(fingerprint, "evaluation", facts)


def sample_line(fingerprint: str, sample: Sample) -> bytes:
    """Return the line of a sample; a log-probability that is no finite number is none."""
    # Numbers and texts may be of numpy or of a backend's classes.
    facts = {
        "problem": sample.problem,
        "index": int(sample.index),
        "text": _HALVES.split(sample.text) if _HALVES.search(sample.text) else str(sample.text),
        "tokens": int(sample.tokens),
        "finish_reason": str(sample.finish_reason),
        "logprob": finite(sample.logprob),
        "seed": int(sample.seed),
    }
    return _line(fingerprint, "sample", facts)


def _line(fingerprint: str, kind: str, facts: Mapping[str, Any]) -> bytes:
    """Return a line with its checksum."""
    record = {"run": fingerprint, "kind": kind, **facts}
    try:
        text = encode(record)
    except (TypeError, ValueError):
        text = encode(plain(record))
    summed = text[1:].encode("ascii")
    return b'%s%08x",%s\n' % (_HEAD, crc32(summed), summed)


def whole_records(lines: Iterable[bytes], damaged: Callable[[bytes], None]) -> Iterator[Record]:
    """Yield the records of a file that are whole; each line with anything else in it goes to `damaged`.

    Args:
        lines: of the file, as it yields them.
        damaged: called with each line that holds something that is no whole record.
    """
    for line in lines:
        if line[:8] == _HEAD and line[16:18] == b'",' and line[-1:] == b"\n":
            summed = memoryview(line)[_SUMMED:-1]
            if b"%08x" % crc32(summed) == line[8:16]:
                record = _read(line)
                if record is not None:
                    yield record
                    continue
        rest = yield from _salvaged(line)
        if rest:
            damaged(line)


def _read(text: bytes) -> Record | None:
    """Return the record that a text with the right checksum holds."""
    try:
        record, _ = _decode(text.decode("ascii"))
    except (ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) and record.keys() >= {"run", "kind"} else None


def _salvaged(line: bytes) -> Generator[Record, None, bool]:
    """Yield the whole records within a line; return whether anything else is in it."""
    starts = [match.start() for match in _BEGINNING.finditer(line)]
    rest = bool(line[: starts[0] if starts else len(line)].removeprefix(_BOM).strip())
    for start, end in pairwise([*starts, len(line)]):
        part = line[start:end]
        # latin-1 makes one character of each byte, so that places in the text are places in the line.
        try:
            _, closed = _decode(part.decode("latin-1"))
        except (ValueError, RecursionError):
            rest = True
            continue
        record = _read(part[:closed]) if b"%08x" % crc32(part[_SUMMED:closed]) == part[8:16] else None
        if record is not None:
            yield record
        rest = rest or record is None or bool(part[closed:].strip())
    return rest


def as_sample(record: Record) -> Sample | None:
    """Return the sample that a record holds, None if it holds something else."""
    try:
        text = record["text"]
        # Interned: one string object serves all samples of a problem.
        problem, finish_reason = intern(record["problem"]), intern(record["finish_reason"])
        return Sample(
            problem,
            record["index"],
            text if isinstance(text, str) else "".join(text),
            record["tokens"],
            finish_reason,
            record["logprob"],
            record["seed"],
        )
    except (KeyError, TypeError):
        return None


def as_problem(record: Record) -> Problem | None:
    """Return the problem that a record holds, None if it holds something else."""
    try:
        return Problem(*(record[name] for name in _PROBLEM))
    except KeyError:
        return None


def as_evaluation(record: Record) -> Evaluation | None:
    """Return the evaluation that a record holds, None if it holds something else."""
    try:
        asks = tuple(Ask(*ask) for ask in record["asks"])
        return Evaluation(record["evaluation"], record["rank"], record["opened"], asks)
    except (KeyError, TypeError):
        return None


def as_run(record: Record) -> Run | None:
    """Return the run that a record holds, None if it holds something else."""
    try:
        run = Run(record["task"], record["model"], record["settings"], record.get("judged_by"))
        return run if run.fingerprint == record["run"] else None
    except (KeyError, AttributeError, WiseMergeError):
        return None


_READERS: Mapping[str, Callable[[Record], Sample | Problem | Evaluation | Run | None]] = {
    "sample": as_sample,
    "problem": as_problem,
    "evaluation": as_evaluation,
    "run": as_run,
}


def content_of(record: Record) -> Sample | Problem | Evaluation | Run | None:
    """Return what a record holds, None if it is nothing that this format has."""
    reader = _READERS.get(str(record["kind"]))
    return None if reader is None else reader(record)
