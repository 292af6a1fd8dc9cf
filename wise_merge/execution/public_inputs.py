"""The calls that the statement of a problem shows, found in its text."""

import ast
import re
from collections.abc import Iterable

# What may be called within the arguments of an example: builtins that make values.
_MAKERS = {"bool", "bytes", "complex", "dict", "float", "frozenset", "int", "list", "range", "set", "str", "tuple"}


def calls_in_prompt(prompt: str, entry_point: str) -> list[str]:
    """Return the calls of `entry_point` in the docstring of a HumanEval prompt, each once, in their order.

    Those of doctest (`>>> add(2, 3)`), and those that other statements show (`add(2, 3) == 5`, `add(2, 3) ➞ 5`). The
    arguments must be values: `add(x, y)` is no input.

    >>> calls_in_prompt('def add(x, y):\\n    \"\"\"Sum.\\n\\n    >>> add(2, 3)\\n    5\\n    \"\"\"\\n', "add")
    ['add(2, 3)']
    """
    found = []
    for match in re.finditer(rf"(?<![\w.]){re.escape(entry_point)}\s*\(", prompt):
        if re.search(r"\bdef\s+$", prompt[: match.start()]):
            continue
        call = _shortest_call(prompt[match.start() :])
        if call is not None:
            found.append(call)
    return list(dict.fromkeys(found))


def calls_in_assertions(assertions: Iterable[str]) -> list[str]:
    """Return the calls that MBPP's `test_list` makes, each once, in their order; what is no such assertion has none.

    >>> calls_in_assertions(["assert f(2) == 3", "assert set(f([1])) == {1}", "assert not f(0)"])
    ['f(2)', 'set(f([1]))', 'f(0)']
    """
    found = []
    for assertion in assertions:
        try:
            statements = ast.parse(assertion.strip()).body
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            continue
        for statement in statements:
            if isinstance(statement, ast.Assert):
                call = _tested(statement.test)
                if call is not None:
                    found.append(ast.unparse(call))
    return list(dict.fromkeys(found))


def _tested(test: ast.expr) -> ast.Call | None:
    """Return the call of which an assertion says something, without what it says."""
    if isinstance(test, ast.Compare):
        test = test.left
    elif isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
        test = test.operand
    if not isinstance(test, ast.Call):
        return None
    name = (
        test.func.id
        if isinstance(test.func, ast.Name)
        else test.func.attr
        if isinstance(test.func, ast.Attribute)
        else ""
    )
    # `math.isclose(f(2), 0.5)`: the answer would be in it.
    if name in ("isclose", "allclose", "isinstance", "all", "any") and test.args:
        return test.args[0] if isinstance(test.args[0], ast.Call) else None
    return test


def _shortest_call(text: str) -> str | None:
    """Return the call of values that the text begins with, None if it begins with none."""
    for match in re.finditer(r"\)", text[:2000]):
        try:
            call = ast.parse(text[: match.end()].replace("\n", " "), mode="eval").body
        except (SyntaxError, ValueError):
            continue
        names = {node.id for node in ast.walk(call) if isinstance(node, ast.Name)}
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and names <= _MAKERS | {call.func.id}:
            return ast.unparse(call)
        return None
    return None
