"""``runs``, ``show`` and ``diff``: list, show and compare runs."""

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer

from include.cli.app import FIRST_RUN, AsJson, Run, RunOrNewest, Session
from include.cli.output import print_fields, print_json, print_table, shown_size
from include.cli.run_list import list_runs
from include.errors import PipelineError
from include.lineage.differences import differences
from include.lineage.failed_runs import FailedRun, failed_run
from include.lineage.run_keys import RunKey
from include.lineage.summary import summary

SHOWN_VALUES = 3  # of a run's configuration, in a line
WHY = "Why is at the end of the task's log: open the task in Airflow (of the embedded services: `make serve`)."


def runs(
    limit: Annotated[int, typer.Option(min=1, max=1000, help="Runs per page.")] = 20,
    page: Annotated[int, typer.Option(min=1, help="Page number; the newest runs are on page 1.")] = 1,
    as_json: AsJson = False,
) -> None:
    """List the runs, newest first.

    With metrics, outcome, the champion of each model, and the values that differ from config/config.yaml as it is now.
    Runs that failed come with the task that failed, if Airflow's database can be reached.
    """
    session = Session()
    listed = list_runs(session, limit, page)
    if listed.failures_unknown:
        print(f"Failed runs are not listed: {listed.failures_unknown}", file=sys.stderr)
    if as_json:
        print_json(listed.rows)
    elif listed.rows:
        _print_runs(listed.rows, session.config.registry.metric)
        if page == 1 and (line := _of_newest(listed.rows[0])):
            print(f"\n{line}")
    else:
        of_page = " on this page." if page > 1 else f". {FIRST_RUN}"
        print(f"No run is recorded in s3://{session.lineage.bucket}{of_page}")
    if outage := listed.champions_unknown:
        raise type(outage)(f"cannot find out which version is champion: {outage}")


def _of_newest(newest: Mapping[str, Any]) -> str | None:
    """What is said below the list: why the newest run failed, or made no champion."""
    if tasks := newest["failed_tasks"]:
        return f"The newest run failed in {', '.join(tasks)}. {WHY}"
    if newest["why_not_champion"] and not newest["champion"]:
        return f"The newest run's version {newest['version']} is not champion: {newest['why_not_champion']}."
    return None


def _print_runs(rows: Sequence[Mapping[str, Any]], metric: str) -> None:
    metrics = list(dict.fromkeys([metric, "test_accuracy", "test_f1_macro"]))
    columns = ["run", "started", "model was", *metrics, "model", "version", "gate", "config"]
    if len({row["model"] for row in rows} - {None}) < 2:
        columns.remove("model")
    table = [_cells(row) | {name: row["metrics"].get(name) for name in metrics} for row in rows]
    print_table(columns, [[cells[name] for name in columns] for cells in table])


def _cells(row: Mapping[str, Any]) -> dict[str, Any]:
    """What stands in a line, but for the metrics."""
    failure, unrecorded = _failure(row), row["outcome"] == "failed"
    return {
        "run": row["run"],
        "started": row["started_at"],
        "model was": failure if unrecorded else row["outcome"],
        "model": row["model"],
        "version": row["version"],
        "gate": "champion" if row["champion"] else row["gate"] or (None if unrecorded else failure),
        "config": _in_short(row["config"]),
    }


def _failure(row: Mapping[str, Any]) -> str | None:
    """``failed: pipeline.preprocess``, of a run that failed."""
    tasks = row["failed_tasks"]
    return None if tasks is None else f"failed: {', '.join(tasks)}" if tasks else "failed"


def show(run: RunOrNewest = None, as_json: AsJson = False) -> None:
    """Show what led to a run's model: code, data, stages, verdict."""
    session = Session()
    if run is None:
        key, manifest = session.newest()
        print(f"No RUN is given. The newest recorded run is {key}:", file=sys.stderr)
    else:
        key, manifest = session.find(run)
    verdict = session.lineage.verdict(key)
    failed, unknown = _failed(key) if verdict is None else (None, None)
    if as_json:
        tasks = list(failed.tasks) if failed else None
        print_json({**manifest.model_dump(mode="json"), "verdict": verdict, "failed_tasks": tasks})
        return
    print_fields(summary(manifest))
    print()
    print_table(
        ["stage", "outcome", "seconds", "why"],
        [[stage.stage, stage.outcome, stage.seconds, stage.reason] for stage in manifest.stages],
    )
    print()
    print_table(
        ["file", "md5", "size", "of stage"],
        [[file.path, file.md5, _size(file.size), f"{file.stage} ({file.role})"] for file in manifest.files],
    )
    print()
    print_table(["metric", "value"], [[name, value] for name, value in manifest.metrics.items()])
    if verdict:
        now = "which version is champion now: python -m include runs"
        print(f"\n{verdict['table']}\n\n{verdict['note']}; the run left it with the alias {verdict['alias']} ({now})")
    elif failed:
        print(f"\nThe run failed{' in ' if failed.tasks else ''}{', '.join(failed.tasks)}, and has no verdict. {WHY}")
    elif unknown:
        print(f"\nThe run has no verdict: promote_model failed or has not ended. Which of both is not known: {unknown}")
    else:
        print("\nThe run has no verdict yet: promote_model has not ended.")


def _failed(run: RunKey) -> tuple[FailedRun | None, PipelineError | None]:
    """The run, if it failed; and why that is not known."""
    try:
        return failed_run(run), None
    except PipelineError as error:
        return None, error


def diff(one: Run, other: Run, as_json: AsJson = False) -> None:
    """Compare two runs: configuration, data, metrics, code and packages."""
    session = Session()
    manifests = [session.find(name)[1] for name in (one, other)]
    found = differences(*manifests)
    ids = [manifest.airflow.run_id for manifest in manifests]
    if as_json:
        print_json({"runs": ids, **{part: {k: list(v) for k, v in names.items()} for part, names in found.items()}})
        return
    rows = [[part, name, *values, _change(values)] for part, names in found.items() for name, values in names.items()]
    if rows:
        print_table(["", "what", *ids, "change"], rows)
    else:
        print(f"{ids[0]} and {ids[1]} do not differ.")


def _size(size: int | None) -> str | None:
    return None if size is None else shown_size(size)


def _change(values: tuple[Any, Any]) -> str:
    numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)
    return f"{values[1] - values[0]:+.4g}" if numbers else ""


def _in_short(values: dict[str, Any]) -> str:
    said = [f"{name}={json.dumps(value)}".replace('"', "") for name, value in values.items()]
    rest = [f"and {len(said) - SHOWN_VALUES} more"] if len(said) > SHOWN_VALUES else []
    return ", ".join([*said[:SHOWN_VALUES], *rest])
