"""``plan``: what runs would execute, why, and for how long.

By a process of its own: what the stages of a run do is known by the operators' packages, which `include` does not
import.
"""

import json
import os
import subprocess
import sys
from typing import Annotated

import typer

from include.cli.app import AsJson
from include.settings import PROJECT_DIR

PLANNER = "ml_operators.plan"


def plan(
    conf: Annotated[str | None, typer.Option(help="Values of the run as JSON, as for a run by hand.")] = None,
    date: Annotated[str | None, typer.Option(help="What {date} becomes; default: as in a run by hand, now.")] = None,
    from_date: Annotated[str | None, typer.Option(help="Plan a backfill: the first {date}.")] = None,
    to_date: Annotated[str | None, typer.Option(help="The last {date} of the backfill.")] = None,
    as_json: AsJson = False,
    as_markdown: Annotated[bool, typer.Option("--md", help="Print Markdown, for a pull request.")] = False,
) -> None:
    """Say what a run would execute, why, and for how long. Changes nothing.

    Of each stage: executed, restored, unchanged, or that it depends on what an earlier stage makes.
    """
    request = {
        "conf": conf,
        "date": date,
        "from_date": from_date,
        "to_date": to_date,
        "as_json": as_json,
        "as_markdown": as_markdown,
    }
    paths = [str(PROJECT_DIR), str(PROJECT_DIR / "plugins"), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
    done = subprocess.run([sys.executable, "-m", PLANNER], input=json.dumps(request), text=True, env=environment)
    if done.returncode:
        raise typer.Exit(1)
