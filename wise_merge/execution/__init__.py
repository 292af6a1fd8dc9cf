"""Runs Python programs that a model wrote, safely and fast, and says what became of each.

Knows neither lm-eval nor tasks: a program comes in with its tests in it, a verdict goes out. `programs` is the
interface, `sandbox` says what keeps a program from doing harm, `behaviour` labels programs by what they return,
`public_inputs` finds the calls that a problem's statement shows.
"""

from wise_merge.execution.behaviour import behaviours
from wise_merge.execution.outcome import Limits, Outcome, Program
from wise_merge.execution.programs import run_programs
from wise_merge.execution.public_inputs import calls_in_assertions, calls_in_prompt
from wise_merge.execution.sandbox import describe_sandbox

__all__ = [
    "Limits",
    "Outcome",
    "Program",
    "behaviours",
    "calls_in_assertions",
    "calls_in_prompt",
    "describe_sandbox",
    "run_programs",
]
