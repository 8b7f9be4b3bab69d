"""MLflow runs that earlier tasks left."""

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from include.mlflow_client import close_runs, deleted_run, running_runs
from ml_operators.base import runtime_settings

if TYPE_CHECKING:
    from airflow.sdk import Context

# An MLflow run whose Airflow task is in one of these states (or is not known any more) is continued by nobody.
ENDED = frozenset({None, "success", "failed", "skipped", "upstream_failed", "removed", "up_for_retry"})


def mlflow_run_gone(path: str, published: Mapping[str, str]) -> str | None:
    """Why a training's result may not be restored: its MLflow run was deleted.

    :param path: where the stage writes which MLflow run it logged to.
    :param published: the content of the stage's published outputs, by path.
    """
    run_id = json.loads(published[path])["run_id"]
    return f"MLflow run {run_id} of the earlier result was deleted" if deleted_run(runtime_settings(), run_id) else None


def close_abandoned_runs(client: Any, experiment_id: str, context: "Context") -> list[str]:
    """Close the MLflow runs of the experiment that are RUNNING, though their task of this DAG is not.

    :param client: an MlflowClient.
    :return: their ids.
    """
    ti: Any = context["ti"]
    abandoned = []
    for run in running_runs(client, experiment_id, {"airflow.dag_id": ti.dag_id}):
        run_id, task_id = run.data.tags.get("airflow.run_id"), run.data.tags.get("airflow.task_id")
        if run_id and task_id:
            states = ti.get_task_states(dag_id=ti.dag_id, task_ids=[task_id], run_ids=[run_id])
            if states.get(run_id, {}).get(task_id) in ENDED:
                abandoned.append(run.info.run_id)
    close_runs(client, abandoned)
    return abandoned
