"""Which versions of the hosts were tested, and which are here.

The oldest are those of `make test-oldest`, the newest those of `make test-newest` and, for vLLM, of
`make test-vllm`. Nothing forbids another one within the ranges of pyproject.toml; a report of a fault names it.
"""

import importlib.metadata
from dataclasses import dataclass

from packaging.version import InvalidVersion, Version


@dataclass(frozen=True)
class Tested:
    """Versions of a distribution between which the tests passed at both ends."""

    name: str
    oldest: str
    newest: str


TESTED = (
    Tested("transformers", "5.12.0", "5.24.0"),
    Tested("torch", "2.7.0", "2.14.1"),
    Tested("mergekit", "0.1.5", "0.1.5"),
    Tested("lm_eval", "0.4.13", "0.4.13"),
    Tested("vllm", "0.32.0", "0.32.0"),
    Tested("peft", "0.18.0", "0.21.2"),
    Tested("trl", "1.16.0", "1.16.0"),
    Tested("accelerate", "1.6.0", "1.15.0"),
    Tested("huggingface_hub", "1.5.0", "2.4.0"),
    Tested("ray", "2.40.0", "2.60.0"),
)


def installed(name: str) -> str | None:
    """Return the version of a distribution in this environment, None = it is not there."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def tested(name: str) -> Tested:
    """Return the row of a host."""
    return next(row for row in TESTED if row.name == name)


def beyond(row: Tested, version: str) -> str | None:
    """Return "older" or "newer" for a version outside of what was tested, None = within it."""
    try:
        # What comes after a plus is the build, as in torch's 2.13.0+cpu.
        here = Version(Version(version).public)
    except InvalidVersion:
        return "other"
    if here < Version(row.oldest):
        return "older"
    return "newer" if here > Version(row.newest) else None


def described(name: str) -> str:
    """Return a host's version and the tested ones, for a message."""
    row = tested(name)
    span = row.oldest if row.oldest == row.newest else f"{row.oldest} to {row.newest}"
    return f"{name} {installed(name) or 'which is not installed'} (tested: {span})"


def not_as_expected(name: str, fault: str) -> str:
    """Return the beginning of a message about a host that has changed inside; `fault` is of `part.first_fault`."""
    return f"{described(name)} is not as expected inside ({fault})"
