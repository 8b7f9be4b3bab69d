"""Errors that a user or a service causes, in words for people.

The exit codes are those of BSD's ``sysexits.h``; a caller can tell from them whether trying again makes sense.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager


class PipelineError(Exception):
    """Base class. Its message says what is wrong, where (file, key), and what to do."""

    exit_code = 1


class ConfigError(PipelineError):
    """The configuration or the environment is wrong. Not retried."""

    exit_code = os.EX_CONFIG


class DataError(PipelineError):
    """The input data are missing or unusable. Not retried."""

    exit_code = os.EX_DATAERR


class AccessError(PipelineError):
    """A service refuses the credentials. Not retried."""

    exit_code = os.EX_NOPERM


class ServiceError(PipelineError):
    """A service does not answer: a retry may succeed."""

    exit_code = os.EX_UNAVAILABLE


def sentence(text: str) -> str:
    """The words of a service or a library with a full stop, so that others can follow."""
    text = text.rstrip()
    return text if text.endswith((".", "!", "?")) else f"{text}."


@contextmanager
def exit_with_message() -> Iterator[None]:
    """Turn a `PipelineError` into one line on stderr and its exit code, for entry points."""
    try:
        yield
    except PipelineError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
