"""``python -m dvc_airflow plan``: what a run of a project would execute, why, and for how long."""

import argparse
import logging
from collections.abc import Sequence
from pathlib import Path

from dvc_airflow.dvc.places import places_of
from dvc_airflow.dvc_config import WHY_IT_LACKS, lacks_remote
from dvc_airflow.errors import TaskError
from dvc_airflow.history import FOLDER, LAST
from dvc_airflow.param_types import FORCE
from dvc_airflow.plan import planner_of
from dvc_airflow.plan_report import conf_of, form_of, searched
from dvc_airflow.project import default_graph_cache_dir
from dvc_airflow.project_root import no_folder
from dvc_airflow.project_run import ProjectRun
from dvc_airflow.reproduce import NoProducerError
from dvc_airflow.run_values import is_forced

EXAMPLE = '{"train.rate": 0.1}'
UNLESS = (
    "A plan reads no DAG file: where that gives a remote, name one of this checkout with --remote; where the DAG does "
    "not push (push=False), say --no-push."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of the command."""
    parser.add_argument("project", type=Path, help="the root of the DVC project")
    parser.add_argument("--conf", "--params", metavar="JSON", help="values of the run, as the trigger form takes them")
    parser.add_argument("--dag", help="the DAG whose runs it is compared with (default: the one that ran the project)")
    parser.add_argument("--remote", help="the name of a DVC remote of the project (default: its default remote)")
    parser.add_argument("--no-push", action="store_true", help="the DAG does not push, so that it needs no remote")
    parser.add_argument("--cache-dir", help="the cache that the DAG's tasks share; none: they share none")
    parser.add_argument("--select", action="append", default=[], help="the stages of the DAG, as its select=")
    parser.add_argument("--exclude", action="append", default=[], help="stages that it leaves out, as its exclude=")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--md", action="store_true", help="print Markdown, for a pull request")


def plan_project(options: argparse.Namespace) -> str:
    """Plan a run of a project in a checkout.

    :raises TaskError, ValueError: it cannot be planned; with what to do.
    :raises OSError: what it reads or its temporary folder cannot be used.
    """
    logging.getLogger("dvc_airflow").addHandler(logging.NullHandler())  # the reasons say what a warning would
    form, conf = form_of(json=options.json, md=options.md), conf_of(options.conf, EXAMPLE)
    force = is_forced(conf)
    run = _run(options.project.resolve(), options.remote, options.cache_dir)
    with planner_of(run, default_graph_cache_dir(), select=options.select, exclude=options.exclude) as planner:
        if options.remote is None and not options.no_push and (reason := lacks_remote(run.project_dir)):
            raise TaskError(f"{reason} {UNLESS}")  # as the DAG file with the push is
        known = planner.dags()
        dag_id = options.dag or _dag_that_ran(known)
        files = planner.files_with({name: value for name, value in conf.items() if name != FORCE}, "--conf")
        places = searched(run)
        try:
            plan = planner.of_dag(dag_id).plan(files=files, force=force)
        except NoProducerError as error:
            if lacks := places["remote_lacks"]:
                why = f"The folder of the remote, {places['remote']}, {lacks}: {WHY_IT_LACKS}."
                raise TaskError(f"{error} {why}") from None
            raise
    return form([plan], {"dag": dag_id, "dags_with_runs": known, **places})


def _run(project_dir: Path, remote: str | None, cache: str | None) -> ProjectRun:
    """A run as the checkout's configuration has it.

    :param remote: the name of a remote; None: the default one.
    :param cache: the cache that tasks share, or ``none``; None: that of the checkout, if tasks have used it, or if
        there is no remote by which they could hand on their results.
    """
    if reason := no_folder(project_dir):
        raise TaskError(reason)
    places = places_of(project_dir, remote)
    own = places.cache_dir if not places.remote_url or (places.cache_dir / FOLDER / LAST).is_dir() else None
    cache_dir = own if cache is None else None if cache == "none" else Path(cache).resolve()
    if cache is not None and cache_dir is not None and not cache_dir.is_dir():
        raise TaskError(f"--cache-dir {cache} is not a folder. Name the cache that the tasks share, or none.")
    if cache_dir is None and places.remote_url is None:
        raise TaskError(ProjectRun(project_dir, dag_id="", run_id="").nowhere)
    return ProjectRun(
        project_dir,
        dag_id="",
        run_id="plan",
        cache_dir=cache_dir,
        remote_url=places.remote_url,
        credentials=lambda: places.options,
    )


def _dag_that_ran(dags: Sequence[str]) -> str:
    """The DAG whose history the plan goes by; empty if no DAG has run the project.

    :raises TaskError: there are several.
    """
    if len(dags) > 1:
        raise TaskError(f"several DAGs have run stages of this project: {', '.join(dags)}. Name one with --dag.")
    return dags[0] if dags else ""
