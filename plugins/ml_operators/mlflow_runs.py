"""MLflow runs that earlier tasks left."""

import json
from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from dvc_airflow.errors import ResultError
from dvc_airflow.result import StageResult
from include.mlflow_client import close_runs, mark_without_result, running_runs, runs_without_lineage
from ml_operators.base import runtime_settings
from ml_operators.published import why_run_is_gone

if TYPE_CHECKING:
    from airflow.sdk import Context

    from include.lineage.mlflow_results import MlflowResults

# An MLflow run whose Airflow task is in one of these states (or is not known any more) is continued by nobody.
ENDED = frozenset({None, "success", "failed", "skipped", "upstream_failed", "removed", "up_for_retry"})
HAS_RESULT = ("success", "skipped")


def mlflow_run_gone(path: str, published: Mapping[str, str]) -> str | None:
    """See `ml_operators.published.why_run_is_gone`."""
    return why_run_is_gone(runtime_settings(), path, published)


def close_abandoned_runs(client: Any, experiment_id: str, context: "Context") -> list[str]:
    """Close the MLflow runs of the experiment that are RUNNING, though their task of this DAG is not.

    :param client: an MlflowClient.
    :return: their ids.
    """
    ti: Any = context["ti"]
    abandoned = []
    for run in running_runs(client, experiment_id, {"airflow.dag_id": ti.dag_id}):
        run_id, task_id = run.data.tags.get("airflow.run_id"), run.data.tags.get("airflow.task_id")
        if run_id and task_id and _state_of(ti, run_id, task_id) in ENDED:
            abandoned.append(run.info.run_id)
    close_runs(client, abandoned)
    return abandoned


def mark_runs_without_result(
    client: Any, experiment_id: str, context: "Context", results: "MlflowResults"
) -> list[str]:
    """Mark the MLflow runs of the experiment that belong to no result: their task of this DAG was killed after the
    MLflow run, and before its result counted, and so failed, or had another result in a later try.

    A run of which this is not certain is left alone.

    :param client: an MlflowClient.
    :param results: knows which runs belong to a result, whatever their tasks say.
    :return: their ids.
    """
    marked = []
    for run in runs_without_lineage(client, experiment_id, context["ti"].dag_id):
        reason = _why_without_result(context["ti"], run, results.path)
        if reason and not results.has(run.info.run_id):
            mark_without_result(client, run, reason)
            marked.append(run.info.run_id)
    return marked


def _why_without_result(ti: Any, run: Any, path: str) -> str | None:
    """Why the task of an MLflow run did not come to a result with that run; None if it did, or may yet."""
    tags = run.data.tags
    run_id, task_id = tags.get("airflow.run_id"), tags.get("airflow.task_id")
    state = _state_of(ti, run_id, task_id) if run_id and task_id else None
    if state is None or state not in ENDED:
        return None
    if state not in HAS_RESULT:
        return f"task {task_id} failed"
    named = _mlflow_run_of(ti, run_id, task_id, path)
    if named is None or named == run.info.run_id:
        return None
    return f"task {task_id} made MLflow run {named} in another try"


def _state_of(ti: Any, run_id: str, task_id: str) -> str | None:
    states = ti.get_task_states(dag_id=ti.dag_id, task_ids=[task_id], run_ids=[run_id])
    state = states.get(run_id, {}).get(task_id)
    return None if state is None else str(state)


def _mlflow_run_of(ti: Any, run_id: str, task_id: str, path: str) -> str | None:
    """The MLflow run that the result of a stage's task names."""
    with suppress(ResultError, KeyError, ValueError):  # another task's, or of another version of the code
        result = StageResult.from_xcom(ti.xcom_pull(task_ids=task_id, run_id=run_id), task_id)
        return str(json.loads(result.published[path])["run_id"])
    return None
