"""The lines of ``runs``: recorded runs from the store, failed ones from Airflow's database, champions from MLflow."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from include.cli.app import Session
from include.errors import PipelineError
from include.lineage.differences import own_values
from include.lineage.failed_runs import DAG_ID, FailedRun, failed_runs
from include.lineage.lineage_store import Entry
from include.lineage.run_keys import RunKey
from include.mlflow_requests import champion_version
from include.registry.gate import why_not_champion


@dataclass
class RunList:
    """A page of runs.

    :param failures_unknown: why the list may lack runs that failed.
    :param champions_unknown: why it may lack the mark of a champion.
    """

    rows: list[dict[str, Any]] = field(default_factory=list)
    failures_unknown: PipelineError | None = None
    champions_unknown: PipelineError | None = None


def list_runs(session: Session, limit: int, page: int) -> RunList:
    """The runs of a page, newest first.

    The list is of the store and stands: neither Airflow's database nor MLflow has to answer.
    """
    listed, failed = RunList(), dict[RunKey, FailedRun]()
    try:
        collected = session.lineage.all_collected(DAG_ID)  # Airflow's database has those that failed still
        found = failed_runs(limit * page + len(collected))
        failed = {one.run: one for one in found if one.run not in collected}
    except PipelineError as error:
        listed.failures_unknown = error
    recorded = session.lineage.started(limit * page)
    started = {run: one.started for run, one in failed.items()} | recorded
    newest = sorted(started, key=lambda run: started[run], reverse=True)[limit * (page - 1) : limit * page]
    entries = session.lineage.read_all(newest)
    champions: dict[str, str | None] = {}
    try:
        for name in {session.config.registry.model_name: None} | dict.fromkeys(_models(entries)):
            champions[name] = champion_version(session.runtime, name)
    except PipelineError as error:
        listed.champions_unknown = error
    config = session.config.model_dump(mode="json")
    for entry in entries:
        why_blank = entry.problem if entry.run in recorded else "failed"
        listed.rows.append(_row(entry, failed.get(entry.run), why_blank, champions, config))
    return listed


def _models(entries: list[Entry]) -> list[str]:
    return [entry.manifest.model.name for entry in entries if entry.manifest and entry.manifest.model]


def _row(
    entry: Entry,
    failed: FailedRun | None,
    why_blank: str | None,
    champions: Mapping[str, str | None],
    config: Mapping[str, Any],
) -> dict[str, Any]:
    """What is known of a run.

    :param why_blank: its outcome if there is no manifest, or none that can be read.
    """
    run = {"run": entry.run.run_id, "dag": entry.run.dag_id, "failed_tasks": list(failed.tasks) if failed else None}
    if entry.manifest is None:
        blank = dict.fromkeys(("mlflow_run", "model", "version"))
        started = failed.started.isoformat()[:19] if failed else None
        return {**run, "started_at": started, **blank, "outcome": why_blank, "metrics": {}, "gate": None,
                "champion": False, "why_not_champion": None, "config": {}}  # fmt: skip
    manifest, model = entry.manifest, entry.manifest.model
    return {
        **run,
        "started_at": manifest.airflow.started_at[:19],
        "mlflow_run": manifest.mlflow_run["run_id"],
        "model": model and model.name,
        "version": model and model.version,
        "outcome": manifest.outcome_of("model"),
        "metrics": manifest.metrics,
        "gate": None if entry.verdict is None else "passed" if entry.verdict["passed"] else "not passed",
        "why_not_champion": why_not_champion(entry.verdict) if entry.verdict else None,
        "champion": model is not None and champions.get(model.name) == model.version,
        "config": own_values(manifest.config, config),
    }
