"""The calls that the statement of a problem shows, found in its text."""

from collections.abc import Iterable


def calls_in_prompt(prompt: str, entry_point: str) -> list[str]:
    """Return the calls of `entry_point` in the docstring of a HumanEval prompt, such as `add(2, 3)`, each once."""
    raise NotImplementedError


def calls_in_assertions(assertions: Iterable[str]) -> list[str]:
    """Return the calls that MBPP's `test_list` makes: `f(2)` of `assert f(2) == 3`, each once."""
    raise NotImplementedError
