"""What is run, within which limits, and what came of it."""

from dataclasses import dataclass
from typing import Literal

from wise_merge.errors import WiseMergeError

Status = Literal["passed", "failed", "timed out", "killed"]

#: A program that waited for a core more than half of its time gets up to so many times its seconds of wall clock.
PATIENCE = 4

_MIB = 1024**2


@dataclass(frozen=True)
class Program:
    """A whole Python program.

    Attributes:
        source: everything that is run: the solution and, where there are any, its tests.
        stdin: what it may read. None is for programs that read nothing: reading raises, `__name__` is not
            `"__main__"` and `sys.exit` is a failure, as in HumanEval's harness. With a text, "" too, it is a script:
            its `__name__` is `"__main__"`, and `sys.exit(0)` ends it as well as its last line does.
        calls: expressions that are evaluated after the source, in its names, see `Outcome.values`.
    """

    source: str
    stdin: str | None = None
    calls: tuple[str, ...] = ()


@dataclass(frozen=True)
class Limits:
    """What one program may use.

    Attributes:
        seconds: of wall clock, as in HumanEval's harness. Where the machine is so busy that a program has a core for
            less than half of them, it gets that half.
        memory: bytes, of each process and of all of them together.
        processes: and threads that may exist at once.
        file_bytes: that it may keep in files, and in one of them.
        output_bytes: of its output that are kept; it may write more, which is lost.
    """

    seconds: float = 3.0
    memory: int = 1024 * _MIB
    processes: int = 32
    file_bytes: int = 64 * _MIB
    output_bytes: int = _MIB

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not value > 0:
                raise WiseMergeError(f"the limit on {name} of a program must be more than 0; got {value!r}")


@dataclass(frozen=True)
class Outcome:
    """What became of a program.

    Attributes:
        status: "passed" if the source ran to its end, which no exit can feign; "failed" if it raised; "timed out";
            "killed" if the process ended before, by its own doing or for what it used.
        output: what it wrote to standard output, cut at the limit.
        error: a line that says why it did not pass; "" if it did.
        values: for each of the program's calls what it returned, in a form that is equal for equal values, or None
            if there is no such value: it raised, or the program had ended before.
    """

    status: Status
    output: str = ""
    error: str = ""
    values: tuple[str | None, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether the source ran to its end."""
        return self.status == "passed"
