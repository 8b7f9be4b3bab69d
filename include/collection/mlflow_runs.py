"""MLflow runs whose manifests are collected: into MLflow's bin, which `mlflow gc` empties.

It deletes what the runs logged, but not their models: MLflow keeps those apart from runs.
"""

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from include.mlflow_client import connect, run_stage, translated_errors
from include.settings import RuntimeSettings

if TYPE_CHECKING:
    from mlflow import MlflowClient


def deletable(
    runtime: RuntimeSettings, mlflow_runs: Iterable[str], before_each: Callable[[], None] = lambda: None
) -> list[str]:
    """Those of these MLflow runs that are not deleted yet, and of which no model version has an alias.

    :param before_each: called before each run is asked for.
    :raises PipelineError: MLflow cannot be asked.
    """
    mlflow = connect(runtime)

    def is_deletable(run: str) -> bool:
        before_each()
        return run_stage(mlflow, run) == "active" and not _has_alias(mlflow, run)

    with translated_errors(runtime):
        return list(filter(is_deletable, mlflow_runs))


def delete(runtime: RuntimeSettings, mlflow_runs: Iterable[str], before_each: Callable[[], None]) -> None:
    """Put MLflow runs into the bin.

    :param before_each: called before each run is deleted.
    :raises PipelineError: MLflow cannot be asked, or refuses it.
    """
    mlflow = connect(runtime)
    with translated_errors(runtime):
        for run in mlflow_runs:
            before_each()
            mlflow.delete_run(run)


def _has_alias(mlflow: "MlflowClient", run: str) -> bool:
    found = mlflow.search_model_versions(f"run_id = '{run}'")
    return any(mlflow.get_model_version(one.name, one.version).aliases for one in found)
