"""From a soup's YAML file and the command line to its settings; everything is checked that needs no checkpoint."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from wise_merge.search.engines.reading import read
from wise_merge.search.soup.checks import check
from wise_merge.search.soup.settings import SoupSettings

#: Runs on the command line take the place of the models of the file, and the other way round.
_REPLACING = {"run": ("models",), "models": ("run",)}


def read_settings(path: Path | None, given: Mapping[str, Any]) -> SoupSettings:
    """Return what a YAML file says and the command line changes of it.

    Args:
        path: of the file, None = none.
        given: key -> value of each option that was given.
    """
    settings = read(SoupSettings, path, given, what="soup", replacing=_REPLACING)
    check(settings)
    return settings
