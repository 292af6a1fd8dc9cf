"""Runs Python programs that a model wrote, safely and fast, and says what became of each.

Knows neither lm-eval nor tasks: a program comes in with its tests in it, a verdict goes out. `programs` runs them,
`outcome` has what goes in and comes out, `sandbox` says what keeps a program from doing harm, `behaviour` labels
programs by what they return, `public_inputs` finds the calls that a problem's statement shows. `inside` is what runs
beside the programs.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from wise_merge.execution.behaviour import Candidate, behaviours, label
    from wise_merge.execution.description import describe_sandbox
    from wise_merge.execution.outcome import Limits, Outcome, Program
    from wise_merge.execution.programs import run_programs
    from wise_merge.execution.public_inputs import calls_in_assertions, calls_in_prompt

__all__ = [
    "Candidate",
    "Limits",
    "Outcome",
    "Program",
    "behaviours",
    "calls_in_assertions",
    "calls_in_prompt",
    "describe_sandbox",
    "label",
    "run_programs",
]

_MODULES = {
    "Candidate": "behaviour",
    "behaviours": "behaviour",
    "calls_in_assertions": "public_inputs",
    "calls_in_prompt": "public_inputs",
    "describe_sandbox": "description",
    "label": "behaviour",
    "run_programs": "programs",
}


def __getattr__(name: str) -> Any:
    # Late: the processes that programs are forked from come through this file, and what they import costs every fork.
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = importlib.import_module(f"{__name__}.{_MODULES.get(name, 'outcome')}")
    return getattr(module, name)
