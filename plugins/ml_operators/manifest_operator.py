"""`ManifestOperator`: the manifest of a run, put together from what its tasks returned."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk.configuration import conf

from dvc_airflow.result import StageResult
from include.lineage.manifest import AirflowRun, Manifest, build
from ml_operators.base import PipelineOperator

if TYPE_CHECKING:
    from airflow.sdk import Context


class ManifestOperator(PipelineOperator):
    """Base of the operators that need the run's manifest.

    :param stage_task_ids: the tasks of the stages.
    """

    def __init__(self, *, stage_task_ids: Sequence[str], **kwargs: Any) -> None:
        kwargs.setdefault("trigger_rule", "none_failed")
        super().__init__(**kwargs)
        self.stage_task_ids = list(stage_task_ids)

    def manifest(self, context: "Context") -> Manifest:
        """The manifest of the run so far.

        :raises ResultError: a task returned no result.
        """
        ti = context["ti"]
        results = [StageResult.from_xcom(ti.xcom_pull(task_ids=task_id), task_id) for task_id in self.stage_task_ids]
        return build(self.pipeline_config, airflow_run(context), results, self.resolved_run.code)


def airflow_run(context: "Context") -> AirflowRun:
    """The run of the DAG, as its lineage has it."""
    ti, run = context["ti"], context["dag_run"]
    return AirflowRun(
        dag_id=ti.dag_id,
        run_id=ti.run_id,
        logical_date=run.logical_date.isoformat() if run.logical_date else None,
        try_number=ti.try_number,
        run_type=str(run.run_type.value),
        triggered_by=run.triggering_user_name or str(run.run_type.value),
        started_at=(run.start_date or run.run_after).isoformat(timespec="milliseconds"),
        url=run_url(ti.dag_id, ti.run_id),
    )


def run_url(dag_id: str, run_id: str) -> str | None:
    """The run's page in Airflow, where Airflow knows its own address."""
    from urllib.parse import quote

    base = conf.get("api", "base_url", fallback=None)
    return f"{base.rstrip('/')}/dags/{quote(dag_id, safe='')}/runs/{quote(run_id, safe='')}" if base else None
