"""Buttons on a task in the web UI. Airflow computes them in the worker, when the task has ended."""

import json
from typing import TYPE_CHECKING, Any, cast

from airflow.sdk import BaseOperatorLink
from airflow.sdk.bases.xcom import BaseXCom

from include.mlflow_client import run_url, version_url
from include.settings import load_runtime_settings

if TYPE_CHECKING:
    from airflow.sdk.types import TaskInstanceKey


def _returned(ti_key: "TaskInstanceKey") -> dict[str, Any]:
    """What the task returned, or pushed before it was skipped; empty if it failed."""
    found = BaseXCom.get_value(ti_key=cast("Any", ti_key), key=BaseXCom.XCOM_RETURN_KEY)
    return found if isinstance(found, dict) else {}


class MlflowRunLink(BaseOperatorLink):
    """To the MLflow run that trained the model, also where the training was restored."""

    name = "MLflow run"

    def get_link(self, operator: Any, *, ti_key: "TaskInstanceKey") -> str:
        """The address, or an empty text if the task came to no result."""
        for text in _returned(ti_key).get("published", {}).values():
            document = json.loads(text)
            if {"run_id", "experiment_id"} <= document.keys():
                return run_url(load_runtime_settings(), document["experiment_id"], document["run_id"])
        mlflow_run = _returned(ti_key).get("mlflow_run")
        return run_url(load_runtime_settings(), mlflow_run["experiment_id"], mlflow_run["run_id"]) if mlflow_run else ""


class ModelVersionLink(BaseOperatorLink):
    """To the registered version."""

    name = "Registered model"

    def get_link(self, operator: Any, *, ti_key: "TaskInstanceKey") -> str:
        """The address, or an empty text if the task came to no result."""
        result = _returned(ti_key)
        return version_url(load_runtime_settings(), result["name"], result["version"]) if "version" in result else ""


class StoreLink(BaseOperatorLink):
    """To the bucket: in the store's console where there is one, else the address of the bucket itself."""

    name = "Object store"

    def get_link(self, operator: Any, *, ti_key: "TaskInstanceKey") -> str:
        """The address, or an empty text if the task came to no result."""
        result = _returned(ti_key)
        bucket = result.get("bucket") or str(result.get("remote_url", "")).removeprefix("s3://").partition("/")[0]
        runtime = load_runtime_settings()
        if not bucket:
            return ""
        if runtime.store_console_url:
            return f"{runtime.store_console_url.rstrip('/')}/browser/{bucket}"
        return f"{(runtime.aws_endpoint_url or 'https://s3.amazonaws.com').rstrip('/')}/{bucket}"
