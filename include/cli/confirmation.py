"""The question at the terminal before something is changed."""

import sys
from collections.abc import Iterable

import typer

from include.errors import ConfigError, PipelineError


def confirm(lines: Iterable[str], question: str, nothing: str, otherwise: str) -> None:
    """Show what would change, and ask.

    :param nothing: what is said if the answer is no, or cannot be given: ``Nothing was deleted.``.
    :param otherwise: how to do it without a terminal: ``To delete them, run: ...``.
    :raises ConfigError: there is no terminal.
    :raises PipelineError: the answer is no.
    """
    if not sys.stdin.isatty():
        raise ConfigError(
            f"this has to be confirmed, and there is no terminal to ask at. {' '.join(lines)} {nothing} {otherwise}"
        )
    print("\n".join(lines), file=sys.stderr)
    if not typer.confirm(question, err=True):
        raise PipelineError(f"not confirmed. {nothing}")
