"""One thing that is used from inside a host, and the check whether it is still there."""

import importlib
import inspect
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Part:
    """A function, class or field of a host beyond its public interface.

    Attributes:
        place: module and name in it, as in "package.module:Class.method".
        takes: parameters by name with which it is called.
        behaves: returns what is not as expected of something that a name cannot show, None = nothing.
    """

    place: str
    takes: tuple[str, ...] = ()
    behaves: Callable[[], str | None] | None = None

    def fault(self) -> str | None:
        """Return what is not as expected, None = nothing."""
        module_name, _, name = self.place.partition(":")
        try:
            value: Any = importlib.import_module(module_name)
            for attribute in filter(None, name.split(".")):
                if not _has(value, attribute):
                    return f"{self.place} is not there"
                # Fields of a class may have no value before there is an object.
                value = getattr(value, attribute, None)
            absent = self._not_taken(value)
            if absent is not None:
                return f"{self.place} takes no {absent}"
            return self.behaves() if self.behaves is not None else None
        # A module that has changed may raise anything; whatever it is, it is the answer.
        except Exception as error:
            return f"{self.place}: {type(error).__name__}: {' '.join(str(error).split())}"

    def _not_taken(self, value: Any) -> str | None:
        if not self.takes:
            return None
        parameters = inspect.signature(value).parameters
        if any(one.kind is inspect.Parameter.VAR_KEYWORD for one in parameters.values()):
            return None
        return next((name for name in self.takes if name not in parameters), None)


def first_fault(parts: Iterable[Part]) -> str | None:
    """Return what is not as expected of the first part of which something is not, None = all are."""
    return next((fault for fault in (part.fault() for part in parts) if fault is not None), None)


def _has(value: Any, attribute: str) -> bool:
    if hasattr(value, attribute):
        return True
    # Where pydantic and dataclasses keep fields without a default.
    fields = (getattr(value, name, {}) for name in ("model_fields", "__dataclass_fields__", "__annotations__"))
    return any(attribute in names for names in fields)
