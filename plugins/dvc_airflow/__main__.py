"""``python -m dvc_airflow``: what a user of a DVC project on Airflow does outside of a DAG."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from dvc_airflow.errors import TaskError, in_words
from dvc_airflow.plan_command import add_arguments, plan_project
from dvc_airflow.project_files import write_list
from dvc_airflow.pull import pull


def main(arguments: Sequence[str] | None = None) -> int:
    """:return: the exit code."""
    options = _parser().parse_args(arguments)
    try:
        print(options.do(options))
    except (TaskError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except OSError as error:  # a full disk, a folder that may not be read
        print(f"error: {in_words(error)}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m dvc_airflow", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    into = commands.add_parser("pull", help="put the lock files and outputs of a run into a checkout of the project")
    into.add_argument("project", type=Path, help="the root of the DVC project")
    into.add_argument("--run", help="the id of the run (default: the last one that was pushed)")
    into.add_argument("--dag", help="the DAG that it belongs to (default: any)")
    into.add_argument("--remote", help="the name of a DVC remote of the project (default: its default remote)")
    into.set_defaults(do=_pull)
    plan = commands.add_parser("plan", help="what a run would execute, why, and for how long; changes nothing")
    add_arguments(plan)
    plan.set_defaults(do=plan_project)
    listed = commands.add_parser("list-files", help="write down what git tracks, for copies of the project without git")
    listed.add_argument("project", type=Path, help="the root of the DVC project, in a git checkout")
    listed.set_defaults(do=lambda options: f"wrote {write_list(options.project)}")
    return parser


def _pull(options: argparse.Namespace) -> str:
    pulled = pull(options.project, dag_id=options.dag, run_id=options.run, remote=options.remote)
    new = [*pulled.lock_files, *pulled.outputs]
    what = f"new here: {', '.join(new)}" if new else "everything was here already"
    return f"run {pulled.run.run_id} of DAG {pulled.run.dag_id}, pushed at {pulled.run.at}; {what}"


if __name__ == "__main__":
    sys.exit(main())
