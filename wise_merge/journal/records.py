"""What a journal keeps: the run, its problems, what evaluations asked for, and the samples."""

import hashlib
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

from wise_merge.errors import WiseMergeError

#: Of the lines (`lines`); takes part in every fingerprint, so that another format never mixes with this one.
FORMAT = 1
#: The address in the text of an object, which differs in every process.
_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")
#: JSON as the journal has it: without blanks, and without NaN and infinity.
encode = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode


@dataclass(frozen=True)
class Run:
    """What samples must share to be of one distribution.

    Attributes:
        task: its name.
        model: in JSON's types; `name` in it is for people and takes no part in the fingerprint, the rest does.
        settings: generation settings and the run's seed, in JSON's types.
        judged_by: the metric and task of lm-eval that judged the completions when the run began, None = one of our
            benchmarks; takes no part in the fingerprint.
    """

    task: str
    model: Mapping[str, Any]
    settings: Mapping[str, Any]
    judged_by: str | None = None

    @cached_property
    def fingerprint(self) -> str:
        """16 hex digits over task, model without its name, and settings; 1.0 and 1 are one number."""
        model = {key: value for key, value in self.model.items() if key != "name"}
        facts = {"format": FORMAT, "task": self.task, "model": model, "settings": self.settings}
        try:
            # Written and read once before: then a run as given and one read from a file have the same fingerprint.
            text = json.dumps(json.loads(encode(_canonical(facts))), sort_keys=True, separators=(",", ":"))
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
    """Which problem an evaluation asks for, by hashes.

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
        text = json.dumps(plain([doc, target]), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def finite(number: float | None) -> float | None:
    """Return the number, None if there is none or it is infinite or NaN, which JSON lacks."""
    return None if number is None or not math.isfinite(number) else float(number)


def plain(value: Any) -> Any:
    """Return the value in JSON's types: infinity and NaN as null, other types as texts."""
    if isinstance(value, Mapping):
        return {str(key): plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(entry) for entry in value]
    if isinstance(value, (set, frozenset)):
        # Their order differs in every process.
        return sorted((plain(entry) for entry in value), key=repr)
    if value is None or isinstance(value, (str, int)):
        return value
    return finite(value) if isinstance(value, float) else _ADDRESS.sub("", str(value))


def _canonical(value: Any) -> Any:
    """Return the value with whole numbers as integers, so that 1.0 and 1 give one fingerprint."""
    if isinstance(value, Mapping):
        return {key: _canonical(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_canonical(entry) for entry in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value
