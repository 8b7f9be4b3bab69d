"""`RecordLineageOperator`: record the run's lineage."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk import Asset, AssetAlias

from include.lineage.manifest import Manifest, ModelVersion, tags
from include.lineage.mlflow_results import MlflowResults
from include.lineage.on_mlflow import tag_run
from include.lineage.recorder import LineageRecorder
from include.mlflow_client import connect
from include.mlflow_client import translated_errors as translated_mlflow_errors
from ml_operators.assets import alias_of, emit, raw_data_asset
from ml_operators.base import cache_dir
from ml_operators.links import MlflowRunLink
from ml_operators.manifest_operator import ManifestOperator
from ml_operators.mlflow_runs import close_abandoned_runs, mark_runs_without_result
from ml_operators.results import RecordedLineage, RegisteredModel

if TYPE_CHECKING:
    from airflow.sdk import Context


class RecordLineageOperator(ManifestOperator):
    """Write the run's manifest, dvc.lock and configuration into the bucket and onto the MLflow run.

    Returns a `RecordedLineage`. If the raw data differ from the last run's, their Asset gets an event.

    :param model: what `RegisterModelOperator` returned. (templated: an XComArg)
    """

    operator_extra_links = (MlflowRunLink(),)
    template_fields: Sequence[str] = (*ManifestOperator.template_fields, "model")

    def __init__(self, *, model: Any, asset: Asset, **kwargs: Any) -> None:
        super().__init__(outlets=[AssetAlias(alias_of(asset))], **kwargs)
        self.model = model

    def execute(self, context: "Context") -> dict[str, Any]:
        """Build the manifest from what the tasks returned, store it, tag the MLflow run."""
        config, runtime = self.pipeline_config, self.runtime
        model = RegisteredModel.from_xcom(self.model, "register_model")
        version = ModelVersion(name=model.name, version=model.version)
        manifest = self.manifest(context).model_copy(update={"model": version})
        mlflow_client = connect(runtime)
        with translated_mlflow_errors(runtime):
            tag_run(manifest, mlflow_client)
            for closed in close_abandoned_runs(mlflow_client, manifest.mlflow_run["experiment_id"], context):
                self.log.warning("MLflow run %s was left open by a task that has ended; closed as KILLED", closed)
        lineage = LineageRecorder(config, runtime)
        key = lineage.record(manifest)
        results = MlflowResults(
            mlflow_client, lineage, lineage.objects_of(manifest), cache_dir(), config.paths.mlflow_run
        )
        with translated_mlflow_errors(runtime):
            experiment_id = manifest.mlflow_run["experiment_id"]
            for marked in mark_runs_without_result(mlflow_client, experiment_id, context, results):
                self.log.warning(
                    "MLflow run %s belongs to no result; closed as KILLED and tagged with the reason", marked
                )
        self.log.info("Lineage: s3://%s/%s", config.storage.bucket, key)
        self._tell_of_data(context, manifest)
        return RecordedLineage(
            key=key, mlflow_run=manifest.mlflow_run, metrics=manifest.metrics, tags=tags(manifest)
        ).to_xcom()

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
