"""Stands in for `code_eval` of the package `evaluate`, by which lm-eval's HumanEval and MBPP judge: runs in a sandbox.

A task's own `process_results` asks it about one completion at a time. The first time it is asked, it notes the program;
then all that were noted are run together, equal ones once, and the task is asked again.
"""

import contextlib
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import evaluate

from wise_merge.execution import (
    Candidate,
    Limits,
    Program,
    behaviours,
    calls_in_assertions,
    calls_in_prompt,
    run_programs,
)

#: Its name in `evaluate.load`.
_CODE_EVAL = "code_eval"


#: What votes, in words.
VOTES = "what a program does on the inputs that the problem shows"


class CodeEval:
    """What `evaluate.load("code_eval")` returns, as far as lm-eval's tasks use it."""

    def __init__(self) -> None:
        #: Whether a task has loaded it.
        self.is_used = False
        self._noted: dict[tuple[Program, float], None] = {}
        self._passed: dict[tuple[Program, float], bool] = {}

    def compute(
        self,
        *,
        references: Sequence[str],
        predictions: Sequence[Sequence[str]],
        timeout: float = Limits.seconds,
        **_: Any,
    ) -> tuple[dict[str, float], dict[int, list[Any]]]:
        """Return the share of programs that pass, 0 of those that are only noted, and nothing else.

        Args:
            references: the tests of each problem.
            predictions: the programs of each.
            timeout: seconds that each may run.
        """
        verdicts = []
        for test, candidates in zip(references, predictions, strict=True):
            for candidate in candidates:
                program = (Program(f"{candidate}\n{test}"), float(timeout))
                if program not in self._passed:
                    self._noted[program] = None
                verdicts.append(self._passed.get(program, False))
        return {"pass@1": sum(verdicts) / len(verdicts)}, {}

    def run_noted(self, processes: int | None) -> bool:
        """Run all programs that were noted; return whether there were any."""
        noted, self._noted = self._noted, {}
        for seconds in {seconds for _, seconds in noted}:
            programs = [program for program, limit in noted if limit == seconds]
            outcomes = run_programs(programs, Limits(seconds=seconds), processes=processes)
            self._passed |= {
                (program, seconds): outcome.passed for program, outcome in zip(programs, outcomes, strict=True)
            }
        return bool(noted)

    def forget(self) -> None:
        """Forget what was noted: lm-eval's tasks try it when they are loaded."""
        self._noted = {}

    @contextlib.contextmanager
    def in_its_place(self, folder: Path) -> Iterator[None]:
        """Have the functions beside a task's file get this one while they are imported.

        They are imported anew and forgotten again, so that the task itself, in the same process, keeps its own.

        Args:
            folder: of the file that describes the task.
        """
        before = _modules_in(folder)
        load: Any = evaluate.load

        def load_this(path: str, *args: Any, **kwargs: Any) -> Any:
            if path != _CODE_EVAL:
                return load(path, *args, **kwargs)
            self.is_used = True
            return self

        for name in before:
            del sys.modules[name]
        evaluate.load = load_this
        try:
            yield
        finally:
            evaluate.load = load
            for name in _modules_in(folder):
                del sys.modules[name]
            sys.modules.update(before)


def public_calls(doc: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the calls that the statement of a problem shows; none where it shows none that can be read.

    MBPP shows the assertions of its `test_list`; HumanEval's prompt has examples of its `entry_point`.
    """
    assertions = doc.get("test_list")
    if isinstance(assertions, Sequence) and not isinstance(assertions, str):
        return tuple(calls_in_assertions(map(str, assertions)))
    prompt, entry_point = doc.get("prompt"), doc.get("entry_point")
    if isinstance(prompt, str) and isinstance(entry_point, str):
        return tuple(calls_in_prompt(prompt, entry_point))
    return ()


def votes(
    problems: Sequence[tuple[Mapping[str, Any], Sequence[str | None]]], processes: int | None
) -> list[list[str | None]]:
    """Return the votes of programs: a label that is equal for programs which agree on the inputs of the statement.

    A program that fails on all of them has no vote. Where the statement shows none, equal programs vote together.

    Args:
        problems: pairs of a problem and its programs, None for no program.
        processes: that may run programs at once, None = as many as is best.
    """
    calls = [public_calls(doc) for doc, _ in problems]
    asked = [
        Candidate(source, calls=shown)
        for shown, (_, sources) in zip(calls, problems, strict=True)
        for source in dict.fromkeys(sources)
        if source is not None and shown
    ]
    labels: dict[Candidate, str | None] = dict(zip(asked, behaviours(asked, processes=processes), strict=True))
    return [
        [source if source is None or not shown else labels[Candidate(source, calls=shown)] for source in sources]
        for shown, (_, sources) in zip(calls, problems, strict=True)
    ]


def _modules_in(folder: Path) -> dict[str, ModuleType]:
    place = folder.resolve()
    return {
        name: module
        for name, module in list(sys.modules.items())
        if (file := getattr(module, "__file__", None)) and Path(file).parent == place
    }
