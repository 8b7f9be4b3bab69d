"""``rollback`` and ``promote``: change the champion by hand, after a confirmation."""

import getpass
import re
import shlex
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated
from uuid import uuid4

import typer

from include.cli.app import AsJson, Session
from include.cli.confirmation import confirm
from include.cli.output import print_json
from include.errors import ConfigError
from include.registry.history import PREVIOUS, ChampionChange, Kind

if TYPE_CHECKING:
    from include.registry.champion import Champion

Reason = Annotated[str, typer.Option(help="The reason; recorded with the model in MLflow.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask for a confirmation.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would change, and change nothing.")]


def rollback(
    version: Annotated[
        str, typer.Argument(metavar="[VERSION]", help="Model version; default: the previous champion.")
    ] = PREVIOUS,
    reason: Reason = "by hand",
    yes: Yes = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Make an earlier version champion again; no run promotes the one that loses the alias again."""
    _change("roll-back", version, reason, yes, dry_run, as_json)


def promote(
    version: Annotated[str, typer.Argument(metavar="VERSION", help="Model version.")],
    reason: Reason = "by hand",
    yes: Yes = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Make a version champion whatever the gate says, also one that was rolled back."""
    _change("promotion", version, reason, yes, dry_run, as_json)


def _change(kind: Kind, target: str, reason: str, yes: bool, dry_run: bool, as_json: bool) -> None:
    from include.mlflow_client import connect, translated_errors
    from include.registry.champion import Actor, Champion

    _require_version(kind, target)
    if not reason.strip():
        raise ConfigError("--reason is empty. Give a reason; it is recorded with the change.")
    session = Session()
    mlflow = connect(session.runtime)
    with translated_errors(session.runtime):
        champion = Champion(session.config, session.runtime, mlflow)
        change = champion.plan(kind, target, reason, Actor(_user(), uuid4().hex))
        before = [*_before(champion, change, target), *_collected(session, champion, change)]
        if dry_run:
            _print_plan(champion, change, before, as_json)
            return
        if yes:
            print("\n".join(before), file=sys.stderr)
        else:
            otherwise = f"To make the change, run: {_command(change, as_json)}"
            confirm([_line(champion, change), *before], "Change the champion?", "Nothing was changed.", otherwise)
        change = champion.carry_out(change)
    if as_json:
        print_json({**asdict(change), "name": champion.name})
    else:
        print(_line(champion, change))


def _require_version(kind: Kind, target: str) -> None:
    if kind == "roll-back" and target == PREVIOUS:
        return
    if not re.fullmatch(r"v?[0-9]{1,9}", target):
        also = f" nor {PREVIOUS}" if kind == "roll-back" else ""
        raise typer.BadParameter(f"{target!r} is {'neither' if also else 'not'} a version number{also}.")


def _line(champion: "Champion", change: ChampionChange) -> str:
    return f"Champion of {champion.name}: version {change.before or 'none'} -> {change.version} ({change.reason})"


def _before(champion: "Champion", change: ChampionChange, target: str) -> list[str]:
    """What a person should know of before."""
    last = champion.last_change()
    lines = [f"The last change was a {last.described()}." if last else "No change of the champion is recorded."]
    if last and last.kind == change.kind == "roll-back" and target == PREVIOUS:
        lines.append(f"This roll-back goes one version further back, to {change.version}.")
    if back := champion.rolled_back().get(change.version):
        lines.append(f"Version {change.version} lost the alias by a {back.described()}.")
    return lines


def _collected(session: Session, champion: "Champion", change: ChampionChange) -> list[str]:
    """What is to be said of a version whose run `gc` removed, or whose MLflow run was deleted."""
    from include.registry.lost_run import lost_run

    lost = lost_run(session.runtime, champion.name, change.version)
    lines = [f"Warning: {lost}"] if lost else []
    if session.lineage.of_version(champion.name, change.version):
        return lines
    at = session.lineage.collected_named(change.version, champion.name)
    return [f"gc removed the run of version {change.version} on {at}: only MLflow has the model."] * bool(at) + lines


def _print_plan(champion: "Champion", change: ChampionChange, before: list[str], as_json: bool) -> None:
    if as_json:
        last = champion.last_change()
        plan = {name: value for name, value in asdict(change).items() if name not in ("at", "token")}
        print_json({**plan, "name": champion.name, "last_change": last and asdict(last), "dry_run": True})
    else:
        print("\n".join([f"Would change: {_line(champion, change)}", *before]))


def _command(change: ChampionChange, as_json: bool) -> str:
    """The line that makes exactly this change: typed twice, it does not go back twice."""
    name = "rollback" if change.kind == "roll-back" else "promote"
    words = ["python", "-m", "include", name, change.version, "--reason", change.reason, "--yes"]
    return shlex.join([*words, *(["--json"] if as_json else [])])


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container's user without a name
        return "command line"
