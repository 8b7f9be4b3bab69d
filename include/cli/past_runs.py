"""``runs``, ``show`` and ``diff``: list, show and compare runs."""

import json
from collections.abc import Mapping
from typing import Annotated, Any

import typer

from include.cli.app import AsJson, Run, Session
from include.cli.output import print_fields, print_json, print_table, shown_size
from include.errors import PipelineError
from include.lineage.differences import differences, own_values
from include.lineage.lineage_store import Entry
from include.lineage.summary import summary
from include.mlflow_client import champion_version
from include.registry.gate import why_not_champion

SHOWN_VALUES = 3  # of a run's configuration, in a line


def runs(
    limit: Annotated[int, typer.Option(min=1, max=1000, help="Runs per page.")] = 20,
    page: Annotated[int, typer.Option(min=1, help="Page number; the newest runs are on page 1.")] = 1,
    as_json: AsJson = False,
) -> None:
    """List the recorded runs, newest first.

    With metrics, outcome, the champion, and the values that differ from config/config.yaml as it is now. A run that
    failed before record_lineage is in Airflow alone.
    """
    session = Session()
    entries = session.lineage.read_all(session.lineage.newest(limit, skip=(page - 1) * limit))
    model, outage = session.config.registry.model_name, None
    try:
        champion = champion_version(session.runtime, model)
    except PipelineError as error:
        champion, outage = None, error
    metric = session.config.registry.metric
    config = session.config.model_dump(mode="json")
    rows = [_row(entry, champion, model, config) for entry in entries]
    if as_json:
        print_json(rows)
    elif rows:
        metrics = list(dict.fromkeys([metric, "test_accuracy", "test_f1_macro"]))
        shown = [
            [row["run"], row["started_at"], row["outcome"], *(row["metrics"].get(name) for name in metrics),
             row["version"], "champion" if row["champion"] else row["gate"], _in_short(row["config"])]
            for row in rows
        ]  # fmt: skip
        print_table(["run", "started", "model was", *metrics, "version", "gate", "config"], shown)
        if page == 1 and rows[0]["why_not_champion"] and not rows[0]["champion"]:
            print(f"\nThe newest run's version {rows[0]['version']} is not champion: {rows[0]['why_not_champion']}.")
    else:
        print(f"No run is recorded in s3://{session.lineage.bucket}{' on this page' if page > 1 else ''}.")
    if outage:  # the list is of the store and stands; which of them is champion only MLflow knows
        raise type(outage)(f"cannot find out which version is champion: {outage}")


def show(run: Run, as_json: AsJson = False) -> None:
    """Show what led to a run's model: code, data, stages, verdict."""
    session = Session()
    key, manifest = session.find(run)
    verdict = session.lineage.verdict(key)
    if as_json:
        print_json({**manifest.model_dump(mode="json"), "verdict": verdict})
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
        print(f"\n{verdict['table']}\n\n{verdict['note']}; alias {verdict['alias']}")


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


def _row(entry: Entry, champion: str | None, model: str, config: Mapping[str, Any]) -> dict[str, Any]:
    manifest, run = entry.manifest, {"run": entry.run.run_id, "dag": entry.run.dag_id}
    if manifest is None:
        blank = dict.fromkeys(("started_at", "mlflow_run", "model", "version"))
        return {**run, **blank, "outcome": entry.problem, "metrics": {}, "gate": None, "champion": False,
                "why_not_champion": None, "config": {}}  # fmt: skip
    version = manifest.model.version if manifest.model else None
    return {
        **run,
        "started_at": manifest.airflow.started_at[:19],
        "mlflow_run": manifest.mlflow_run["run_id"],
        "model": manifest.model and manifest.model.name,
        "version": version,
        "outcome": manifest.outcome_of("model"),
        "metrics": manifest.metrics,
        "gate": None if entry.verdict is None else "passed" if entry.verdict["passed"] else "not passed",
        "why_not_champion": why_not_champion(entry.verdict) if entry.verdict else None,
        "champion": version is not None and version == champion and manifest.model and manifest.model.name == model,
        "config": own_values(manifest.config, config),
    }
