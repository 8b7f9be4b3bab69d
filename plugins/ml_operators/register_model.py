"""`RegisterModelOperator`: from the MLflow run to a registered version."""

from typing import TYPE_CHECKING, Any

from airflow.sdk import Asset, AssetAlias

from include.lineage.manifest import Manifest, tags
from include.mlflow_client import connect, translated_errors
from ml_operators.assets import about_version, alias_of, emit, model_asset
from ml_operators.base import registry_of
from ml_operators.links import ModelVersionLink
from ml_operators.manifest_operator import ManifestOperator
from ml_operators.results import RegisteredModel

if TYPE_CHECKING:
    from airflow.sdk import Context


class RegisterModelOperator(ManifestOperator):
    """Register the run's model: one version per MLflow run, however often it is tried, by however many runs at once.

    Returns a `RegisteredModel`. A new version emits an event of the model's Asset.
    """

    operator_extra_links = (ModelVersionLink(),)

    def __init__(self, *, asset: Asset, **kwargs: Any) -> None:
        super().__init__(outlets=[AssetAlias(alias_of(asset))], **kwargs)

    def execute(self, context: "Context") -> dict[str, Any]:
        """Register the model, or find its version."""
        manifest, config = self.manifest(context), self.pipeline_config
        registry = registry_of(config, self.runtime, connect(self.runtime))
        with translated_errors(self.runtime):
            version, new = registry.register(manifest.mlflow_run, tags(manifest), _description(manifest))
        run_id = manifest.mlflow_run["run_id"]
        self.log.info("Model %s version %s belongs to MLflow run %s", registry.name, version, run_id)
        registered = RegisteredModel(
            name=registry.name,
            version=version,
            new=new,
            run_id=run_id,
            md5=manifest.md5_of("model"),
            metrics=manifest.metrics,
        )
        if new:
            emit(context, model_asset(config), about_version(registered))
        return registered.to_xcom()


def _description(manifest: Manifest) -> str:
    """Markdown, for MLflow's page of the version."""
    run, config, scores = manifest.airflow, manifest.config, manifest.metrics
    where = f"[{run.run_id}]({run.url})" if run.url else run.run_id
    kind = config["model"]["kind"]
    chosen = ", ".join(f"{name}={value}" for name, value in config["model"][kind].items())
    return (
        f"{kind} ({chosen}) on `{config['data']['source']}`, test accuracy {scores['test_accuracy']:.4f}. "
        f"Registered by run {where} of DAG {run.dag_id}."
    )
