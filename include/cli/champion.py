"""``rollback``: make an earlier version champion again."""

import getpass
from dataclasses import asdict
from typing import Annotated
from uuid import uuid4

import typer

from include.cli.app import AsJson, Session
from include.cli.output import print_json
from include.errors import ConfigError


def rollback(
    version: Annotated[
        str, typer.Argument(metavar="[VERSION]", help="Model version; default: the previous champion.")
    ] = "previous",
    reason: Annotated[str, typer.Option(help="The reason; recorded with the model in MLflow.")] = "by hand",
    as_json: AsJson = False,
) -> None:
    """Make an earlier version champion again."""
    from include.mlflow_client import connect, translated_errors
    from include.registry.registry import PREVIOUS, Actor, Registry

    if version != PREVIOUS and not version.removeprefix("v").isdigit():
        raise typer.BadParameter(f"{version!r} is neither a version number nor {PREVIOUS}.")
    if not reason.strip():
        raise ConfigError("--reason is empty. Give a reason; it is recorded with the change.")
    session = Session()
    mlflow = connect(session.runtime)
    with translated_errors(session.runtime):
        registry = Registry(session.config, session.runtime, mlflow)
        change = registry.roll_back(version, reason, Actor(_user(), uuid4().hex))
    if as_json:
        print_json({**asdict(change), "name": registry.name})
    else:
        print(f"Champion of {registry.name}: version {change.before} -> {change.version} ({reason})")


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container's user without a name
        return "command line"
