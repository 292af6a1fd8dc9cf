"""The records of a journal and the form of its lines: JSON objects in ASCII that begin with their own checksum.

{"crc":"1c291ca3","run":"0123456789abcdef","kind":"sample",...}

The CRC-32 is that of everything behind its comma up to the closing brace. Each line names its run, so a
file that was cut, doubled, put behind another or damaged anywhere gives back exactly the records that are whole.
"""

import hashlib
import json
import math
import re
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from sys import intern
from typing import Any, NamedTuple
from zlib import crc32

from wise_merge.errors import WiseMergeError

#: Of the lines; takes part in every fingerprint, so that another format never mixes with this one.
FORMAT = 1
_BOM = b"\xef\xbb\xbf"
_HEAD = b'{"crc":"'
#: How every line begins. Within a text the quotes would be escaped.
_BEGINNING = re.compile(rb'\{"crc":"[0-9a-f]{8}","run":"[0-9a-f]{16}","kind":"')
_CRC_ENDS = len(_HEAD) + 8
_SUMMED = _CRC_ENDS + 2
#: JSON would make one character of the two halves of a pair.
_HALVES = re.compile("(?<=[\ud800-\udbff])(?=[\udc00-\udfff])")
#: What the text of an object says that is another in every process.
_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")
#: The fields of a problem's line.
_PROBLEM = ("problem", "prompt", "doc_id", "doc", "target", "facts", "evaluation", "opened")
_encode = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode
_decode = json.JSONDecoder().raw_decode


@dataclass(frozen=True)
class Run:
    """What samples must share to be of one distribution.

    Attributes:
        task: its name.
        model: in JSON's types; `name` in it is for people and takes no part in the fingerprint, the rest does.
        settings: generation settings and the run's seed, in JSON's types.
    """

    task: str
    model: Mapping[str, Any]
    settings: Mapping[str, Any]

    @cached_property
    def fingerprint(self) -> str:
        """16 hex digits over task, model without its name, and settings; 1.0 and 1 are one number."""
        model = {key: value for key, value in self.model.items() if key != "name"}
        facts = {"format": FORMAT, "task": self.task, "model": model, "settings": self.settings}
        try:
            # Read back first: then it is the same of a run as given and of one that stood in a file.
            text = json.dumps(json.loads(_encode(_canonical(facts))), sort_keys=True, separators=(",", ":"))
        except (TypeError, ValueError) as error:
            raise WiseMergeError(
                f"the journal of {self.task} needs model and generation settings of texts, numbers, true, false, "
                f"lists and mappings; got {facts!r}: {error}"
            ) from error
        return hashlib.sha256(text.encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class Sample:
    """One completion.

    Attributes:
        problem: see `problem_id`.
        index: 0, 1, ... among the samples of its problem.
        text: the completion.
        tokens: how many were generated.
        finish_reason: "stop" or "length".
        logprob: mean log-probability of its tokens in nats, None = unknown.
        seed: it was drawn with.
    """

    problem: str
    index: int
    text: str
    tokens: int
    finish_reason: str
    logprob: float | None
    seed: int


class Ask(NamedTuple):
    """What an evaluation asks of a problem, in short.

    Attributes:
        problem: see `problem_id`.
        doc_id: its number in the task, None = unknown.
        facts: see `digest`, of its row and its right answer.
    """

    problem: str
    doc_id: int | None
    facts: str


@dataclass(frozen=True, slots=True)
class Problem:
    """A problem as lm-eval had it.

    Attributes:
        id: see `problem_id`.
        prompt: the text that the model got.
        doc_id: its number in the task, None = unknown.
        doc: the row of the data set.
        target: what lm-eval takes for the right answer, None = unknown.
        facts: see `digest`, of the last two.
        evaluation: id of the first one that asked for it.
        opened: when the journal was opened that wrote it down, in nanoseconds since 1970.
    """

    id: str
    prompt: str
    doc_id: int | None
    doc: Any
    target: Any
    facts: str
    evaluation: str
    opened: int

    @property
    def ask(self) -> Ask:
        """What an evaluation that asks for it has in its line."""
        return Ask(self.id, self.doc_id, self.facts)


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What one process asked for in one evaluation.

    Attributes:
        id: the same in all processes of one launch.
        rank: of the process.
        opened: when it opened the journal, in nanoseconds since 1970.
        asks: for each problem of its share, whether there were samples of it or not.
    """

    id: str
    rank: int
    opened: int
    asks: tuple[Ask, ...]


def problem_id(prompt: str) -> str:
    """Return 32 hex digits of a hash of the prompt, by which the samples of a problem find it."""
    return hashlib.sha256(prompt.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def digest(doc: Any, target: Any) -> str:
    """Return 16 hex digits of a hash of a row and its right answer, as a journal holds them."""
    try:
        text = json.dumps([doc, target], sort_keys=True, allow_nan=False)
    except (TypeError, ValueError):
        text = json.dumps(_plain([doc, target]), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


# --- writing ----------------------------------------------------------------------------------------


def run_line(run: Run) -> bytes:
    """Return the line that says what the samples of a run share."""
    facts = {"format": FORMAT, "task": run.task, "model": run.model, "settings": run.settings}
    return _line(run.fingerprint, "run", facts)


def problem_line(fingerprint: str, problem: Problem) -> bytes:
    """Return the line of a problem; what JSON does not have in its doc is written as a text."""
    facts = {name: getattr(problem, name) for name in _PROBLEM[1:]}
    return _line(fingerprint, "problem", {"problem": problem.id, **facts})


def evaluation_line(fingerprint: str, evaluation: Evaluation) -> bytes:
    """Return the line of an evaluation."""
    facts = {"evaluation": evaluation.id, "rank": evaluation.rank, "opened": evaluation.opened, "asks": evaluation.asks}
    return _line(fingerprint, "evaluation", facts)


def sample_line(fingerprint: str, sample: Sample) -> bytes:
    """Return the line of a sample; a log-probability that is no finite number is none."""
    # The types may be numpy's or subclasses of a backend.
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


def finite(number: float | None) -> float | None:
    """Return the number, None if there is none or it is infinite or NaN, which JSON lacks."""
    return None if number is None or not math.isfinite(number) else float(number)


def _line(fingerprint: str, kind: str, facts: Mapping[str, Any]) -> bytes:
    record = {"run": fingerprint, "kind": kind, **facts}
    try:
        text = _encode(record)
    except (TypeError, ValueError):
        text = _encode(_plain(record))
    summed = text[1:].encode("ascii")
    return b'%s%08x",%s\n' % (_HEAD, crc32(summed), summed)


def _plain(value: Any) -> Any:
    """Return the value in JSON's types: what has no finite number as null, what else JSON lacks as its text."""
    if isinstance(value, Mapping):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(entry) for entry in value]
    if isinstance(value, (set, frozenset)):
        # Their order is another in every process.
        return sorted((_plain(entry) for entry in value), key=repr)
    if value is None or isinstance(value, (str, int)):
        return value
    return finite(value) if isinstance(value, float) else _ADDRESS.sub("", str(value))


def _canonical(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _canonical(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_canonical(entry) for entry in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


# --- reading ----------------------------------------------------------------------------------------

#: A record as it was written, without its checksum; which of the two is told by "kind".
Record = dict[str, Any]


def records(lines: Iterable[bytes], damaged: Callable[[bytes], None]) -> Iterator[Record]:
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
        # Each byte becomes one character, so that places in the text are those in the line.
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
        # One object for all samples of a problem.
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
        run = Run(record["task"], record["model"], record["settings"])
        return run if run.fingerprint == record["run"] else None
    except (KeyError, AttributeError, WiseMergeError):
        return None


_READERS: Mapping[str, Callable[[Record], Sample | Problem | Evaluation | Run | None]] = {
    "sample": as_sample,
    "problem": as_problem,
    "evaluation": as_evaluation,
    "run": as_run,
}


def content(record: Record) -> Sample | Problem | Evaluation | Run | None:
    """Return what a record holds, None if it is nothing that this format has."""
    reader = _READERS.get(str(record["kind"]))
    return None if reader is None else reader(record)
