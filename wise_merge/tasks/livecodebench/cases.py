"""The tests of a row of LiveCodeBench's files: `public_test_cases` and `private_test_cases`, packed or not."""

import base64
import binascii
import io
import json
import pickle
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from wise_merge.errors import WiseMergeError


@dataclass(frozen=True)
class Test:
    """One test of a problem.

    Attributes:
        input: what a script reads, or one JSON value per line for each argument of a function.
        output: what a script writes, or what the function returns, as JSON.
    """

    __test__ = False

    input: str
    output: str


@dataclass(frozen=True)
class Tests:
    """The tests of a problem.

    Attributes:
        function: that is called, a method of the starter code's class `Solution`; None = a script is run.
        public: those that the statement shows.
        private: all others.
    """

    __test__ = False

    function: str | None
    public: tuple[Test, ...]
    private: tuple[Test, ...]


def read_tests(row: Mapping[str, Any]) -> Tests:
    """Return the tests of a row; raises a `WiseMergeError` that says what is wrong with them."""
    public = _cases(row["public_test_cases"], "public_test_cases")
    private = _cases(row["private_test_cases"], "private_test_cases")
    if not public and not private:
        raise WiseMergeError("it has no tests: public_test_cases and private_test_cases are empty")
    kinds = {str(case.get("testtype", "stdin")) for case in (*public, *private)}
    if not kinds <= {"stdin", "functional"} or len(kinds) > 1:
        raise WiseMergeError(f"its tests must be all stdin or all functional; got {', '.join(sorted(kinds))}")
    function = None
    if kinds == {"functional"}:
        metadata = row.get("metadata") or {}
        function = (json.loads(metadata) if isinstance(metadata, str) else dict(metadata)).get("func_name")
        if not isinstance(function, str) or not function.isidentifier():
            raise WiseMergeError(f"its tests call a function, so its metadata must have a func_name; got {metadata!r}")
    return Tests(function, _tests(public), _tests(private))


def _tests(cases: list[Mapping[str, Any]]) -> tuple[Test, ...]:
    return tuple(Test(str(case["input"]), str(case["output"])) for case in cases)


def _cases(packed: Any, column: str) -> list[Mapping[str, Any]]:
    """Return test cases that are a list, JSON, or JSON that is pickled, compressed and in base64."""
    cases = packed
    if isinstance(packed, str):
        try:
            cases = json.loads(packed)
        except ValueError:
            try:
                cases = json.loads(_text(zlib.decompress(base64.b64decode(packed, validate=True))))
            except (binascii.Error, zlib.error, pickle.UnpicklingError, ValueError, EOFError) as error:
                raise WiseMergeError(f"its {column} can be read neither as JSON nor unpacked ({error})") from error
    if not isinstance(cases, list) or not all(
        isinstance(case, Mapping) and {"input", "output"} <= case.keys() for case in cases
    ):
        raise WiseMergeError(f"its {column} must be a list of tests, each with an input and an output")
    return cases


def _text(pickled: bytes) -> str:
    """Return a pickled text, and nothing but a text: unpickling anything else can run code."""
    text = _TextOnly(io.BytesIO(pickled)).load()
    if not isinstance(text, (str, bytes)):
        raise pickle.UnpicklingError(f"text was expected, there is a {type(text).__name__}")
    return text if isinstance(text, str) else text.decode()


class _TextOnly(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        raise pickle.UnpicklingError(f"it asks for {module}.{name}, and only text is unpickled")
