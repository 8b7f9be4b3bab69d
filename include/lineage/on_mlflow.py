"""The lineage on the MLflow run: artifacts, tags, and the way back to Airflow."""

import json
import time
from typing import TYPE_CHECKING, Any

from include.lineage.manifest import Manifest, documents, tags
from include.lineage.run_keys import FOLDER, REPORT
from include.mlflow_client import require_run
from include.registry.gate import Verdict

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Metric

NOTE_LENGTH = 5000  # characters; MLflow cuts a tag after 8000
MORE = "For other runs that used it, see the artifact folder lineage.\n\n"
NOTE = "mlflow.note.content"  # MLflow shows it as the run's description (Markdown)


def tag_run(manifest: Manifest, mlflow: "MlflowClient") -> None:
    """Put the lineage on the MLflow run.

    A run that restored the model adds its own folder of artifacts, and its link to the description; the tags stay those
    of the run that trained.

    :raises DataError: the MLflow run was deleted.
    """
    mlflow_run_id = manifest.mlflow_run["run_id"]
    require_run(mlflow, mlflow_run_id)
    for file, text in documents(manifest).items():
        mlflow.log_text(mlflow_run_id, text, artifact_path(manifest.airflow.dag_id, manifest.airflow.run_id, file))
    have = mlflow.get_run(mlflow_run_id).data.tags
    for name, value in tags(manifest).items():
        if name not in have:
            mlflow.set_tag(mlflow_run_id, name, value)
    note, before = _note(manifest), have.get(NOTE, "")
    if note not in before and not before.endswith(MORE):
        more = MORE if len(before) > NOTE_LENGTH else f"{note}\n\n"
        mlflow.set_tag(mlflow_run_id, NOTE, before + more)


def add_report(mlflow: "MlflowClient", manifest: Manifest, verdict: Verdict, html: str) -> str:
    """Put the report and the gate's verdict on the MLflow run. The tags are those of the last verdict.

    :return: the path of the report among the run's artifacts.
    """
    mlflow_run_id = manifest.mlflow_run["run_id"]
    path = artifact_path(manifest.airflow.dag_id, manifest.airflow.run_id, REPORT)
    mlflow.log_text(mlflow_run_id, html, path)
    tags = {
        "gate.passed": str(verdict.passed).lower(),
        "gate.note": verdict.note,
        "gate.checks": json.dumps(_that_fit(verdict.as_dict()["checks"])),
        "gate.table": verdict.table()[:NOTE_LENGTH],
        "gate.compared_with": verdict.compared_with or "none",
    }
    for name, value in tags.items():
        mlflow.set_tag(mlflow_run_id, name, value)
    if intervals := _intervals(verdict):
        mlflow.log_batch(mlflow_run_id, metrics=intervals)
    return path


def _that_fit(checks: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The results of the rules, as many as a tag holds; those that failed come first where not all do."""
    if len(json.dumps(checks)) <= NOTE_LENGTH:
        return checks
    kept: list[dict[str, Any]] = []
    for check in sorted(checks, key=lambda check: bool(check["passed"])):
        if len(json.dumps([*kept, check])) > NOTE_LENGTH:
            break
        kept.append(check)
    return kept


def _intervals(verdict: Verdict) -> "list[Metric]":
    """The change by each metric and its interval, as metrics; those of groups are in the verdict alone.

    MLflow deletes no metric: where a later verdict compares nothing, those of the earlier one stay.
    """
    from mlflow.entities import Metric

    now = int(time.time() * 1000)
    return [
        Metric(f"gate.{check.metric}.{name}", value, now, 0)
        for check in verdict.checks
        if "[" not in check.metric
        for name in ("change", "lower", "upper")
        if check.lower is not None and (value := getattr(check, name)) is not None
    ]


def artifact_path(dag_id: str, run_id: str, file: str) -> str:
    """Where a file of a run's lineage is among the artifacts of the MLflow run.

    Not quoted, as in the bucket: MLflow's server would take that back. Airflow allows no slash in these ids.
    """
    return f"{FOLDER}/{dag_id}/{run_id}/{file}"


def _note(manifest: Manifest) -> str:
    run = manifest.airflow
    what = "Trained" if manifest.outcome_of("mlflow_run") == "executed" else "Used"
    return f"{what} by Airflow run [{run.run_id}]({run.url})" if run.url else f"{what} by Airflow run {run.run_id}"
