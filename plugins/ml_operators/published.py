"""Which small outputs of the stages later tasks want, and what they say of an earlier result. Without Airflow."""

import json
from collections.abc import Mapping

from include.mlflow_requests import deleted_run
from include.settings import RuntimeSettings
from include.settings.pipeline import PathsConfig


def published(paths: PathsConfig) -> dict[str, list[str]]:
    """The outputs that the tasks of stages publish, by the stage's name."""
    return {"preprocess": [paths.columns], "train_and_evaluate": [paths.mlflow_run, paths.metrics]}


def why_run_is_gone(runtime: RuntimeSettings, path: str, published: Mapping[str, str]) -> str | None:
    """Why a training's result may not be restored: its MLflow run was deleted.

    :param path: where the stage writes which MLflow run it logged to.
    :param published: the content of the stage's published outputs, by path.
    """
    run_id = json.loads(published[path])["run_id"]
    return f"MLflow run {run_id} of the earlier result was deleted" if deleted_run(runtime, run_id) else None
