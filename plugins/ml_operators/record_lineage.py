"""`RecordLineageOperator`: write down what led to what."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk import Asset, AssetAlias

from include.lineage.archive import Archive
from include.lineage.manifest import Manifest, ModelVersion, tags
from include.lineage.on_mlflow import tag_run
from include.mlflow_client import connect
from include.mlflow_client import explained as mlflow_explained
from ml_operators.assets import alias_of, emit, raw_data_asset
from ml_operators.facts import FactsOperator
from ml_operators.links import MlflowRunLink
from ml_operators.mlflow_runs import close_abandoned_runs

if TYPE_CHECKING:
    from airflow.sdk import Context


class RecordLineageOperator(FactsOperator):
    """Write the run's manifest, dvc.lock and configuration into the bucket and onto the MLflow run.

    Returns ``key`` (of the manifest in the bucket), ``mlflow_run``, ``metrics`` and ``tags``. Raw data that are other
    ones than the last run's are an event of their Asset.

    :param model: what `RegisterModelOperator` returned. (templated: an XComArg)
    """

    operator_extra_links = (MlflowRunLink(),)
    template_fields: Sequence[str] = (*FactsOperator.template_fields, "model")

    def __init__(self, *, model: Any, asset: Asset, **kwargs: Any) -> None:
        super().__init__(outlets=[AssetAlias(alias_of(asset))], **kwargs)
        self.model = model

    def execute(self, context: "Context") -> dict[str, Any]:
        """Build the manifest from what the tasks returned, store it, tag the MLflow run."""
        self.require("model")
        config, runtime = self.pipeline_config, self.runtime
        version = ModelVersion(name=self.model["name"], version=self.model["version"])
        manifest = self.facts(context).model_copy(update={"model": version})
        mlflow_client = connect(runtime)
        with mlflow_explained(runtime):
            tag_run(manifest, mlflow_client)
            for closed in close_abandoned_runs(mlflow_client, manifest.mlflow_run["experiment_id"], context):
                self.log.warning("MLflow run %s was left running by a task that is not; closed as KILLED", closed)
        key = Archive(config, runtime).record(manifest)
        self.log.info("Lineage: s3://%s/%s", config.storage.bucket, key)
        self._tell_of_data(context, manifest)
        return {
            "key": key,
            "mlflow_run": manifest.mlflow_run,
            "metrics": manifest.metrics,
            "tags": tags(manifest),
        }

    def _tell_of_data(self, context: "Context", manifest: Manifest) -> None:
        if manifest.outcome_of("raw_data") != "unchanged":
            data = manifest.config["data"]
            extra = {
                "bucket": manifest.config["storage"]["bucket"],
                "md5": manifest.md5_of("raw_data"),
                "source": data["source"],
                "version": data["version"],
            }
            emit(context, raw_data_asset(self.pipeline_config), extra)
