"""Errors of this package as `mergekit-yaml` prints them: click exceptions, of one line each."""

import contextlib
from collections.abc import Iterator

import click

from wise_merge.errors import WiseMergeError


class MergeInputError(click.ClickException, WiseMergeError):
    """A `WiseMergeError` that `mergekit-yaml` prints as one line, with exit code 1."""


@contextlib.contextmanager
def one_line_errors() -> Iterator[None]:
    """Turn every `WiseMergeError` within into a `MergeInputError`."""
    try:
        yield
    except MergeInputError:
        raise
    except WiseMergeError as error:
        raise MergeInputError(str(error)) from error
    except OSError as error:
        if error.filename is None:
            raise
        raise MergeInputError(f"{error.filename} cannot be read: {error.strerror or error}") from error
