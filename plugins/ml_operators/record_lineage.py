"""`RecordLineageOperator`: write down what led to what."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from include import lineage
from include.errors import ConfigError
from include.mlflow_client import connect
from include.mlflow_client import explained as mlflow_explained
from include.store import client, explained
from ml_operators.base import PipelineOperator
from ml_operators.links import MlflowRunLink
from ml_operators.mlflow_runs import close_abandoned_runs

if TYPE_CHECKING:
    from airflow.sdk import Context


class RecordLineageOperator(PipelineOperator):
    """Write the run's manifest, dvc.lock and configuration into the bucket and onto the MLflow run.

    Returns ``key`` (of the manifest in the bucket), ``mlflow_run``, ``metrics`` and ``tags``.

    :param code: the state of the code when the run began. (templated: an XComArg)
    :param stage_task_ids: the tasks whose results are recorded.
    """

    operator_extra_links = (MlflowRunLink(),)

    template_fields: Sequence[str] = ("config", "code")

    def __init__(self, *, code: Any, stage_task_ids: Sequence[str], **kwargs: Any) -> None:
        kwargs.setdefault("trigger_rule", "none_failed")
        super().__init__(**kwargs)
        self.code = code
        self.stage_task_ids = list(stage_task_ids)

    def _result(self, ti: Any, task_id: str) -> dict[str, Any]:
        result = ti.xcom_pull(task_ids=task_id)
        if result is None:
            raise ConfigError(f"task {task_id} left no result. Clear it, to run it again.")
        return dict(result)

    def execute(self, context: "Context") -> dict[str, Any]:
        """Build the manifest from what the tasks returned, store it, tag the MLflow run."""
        self.require("code")
        config, runtime, ti = self.pipeline_config, self.runtime, context["ti"]
        run = context["dag_run"]
        manifest = lineage.build(
            config,
            lineage.AirflowRun(
                dag_id=ti.dag_id,
                run_id=ti.run_id,
                logical_date=run.logical_date.isoformat() if run.logical_date else None,
                try_number=ti.try_number,
            ),
            [self._result(ti, task_id) for task_id in self.stage_task_ids],
            lineage.Code.model_validate(self.code),
        )
        mlflow_client = connect(runtime)
        with mlflow_explained(runtime):
            lineage.tag_mlflow_run(manifest, mlflow_client)
            for closed in close_abandoned_runs(mlflow_client, manifest.mlflow_run["experiment_id"], context):
                self.log.warning("MLflow run %s was left running by a task that is not; closed as KILLED", closed)
        with explained(runtime, f"storage.bucket: {config.storage.bucket}"):
            lineage.store(manifest, client(runtime), config.storage.bucket)
        key = lineage.key(ti.run_id, "manifest.json")
        self.log.info("Lineage: s3://%s/%s", config.storage.bucket, key)
        return {
            "key": key,
            "mlflow_run": manifest.mlflow_run,
            "metrics": manifest.metrics,
            "tags": lineage.tags(manifest),
        }
