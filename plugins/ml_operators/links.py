"""Buttons on a task in the web UI. Airflow computes them in the worker, when the task has ended."""

import json
from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import quote, urlencode, urlsplit

from airflow.sdk import BaseOperatorLink, get_parsing_context
from airflow.sdk.bases.xcom import BaseXCom

from include.errors import ConfigError
from include.mlflow_client import run_url, version_url
from include.settings import RuntimeSettings, load_runtime_settings
from include.store.stored_objects import object_path

if TYPE_CHECKING:
    from airflow.sdk.types import TaskInstanceKey

AWS_CONSOLE = "https://s3.console.aws.amazon.com/s3"

_pulled: dict[Any, dict[str, Any]] = {}


def _returned(ti_key: "TaskInstanceKey") -> dict[str, Any]:
    """What the task returned, or pushed before it was skipped; empty if it failed. Pulled once for all its links."""
    ti_id = getattr(ti_key, "id", None)  # another one for each try
    if ti_id is None or ti_id not in _pulled:
        _pulled.clear()
        found = BaseXCom.get_value(ti_key=cast("Any", ti_key), key=BaseXCom.XCOM_RETURN_KEY)
        _pulled[ti_id] = found if isinstance(found, dict) else {}
    return _pulled[ti_id]


class MlflowRunLink(BaseOperatorLink):
    """To the MLflow run that trained the model, also where the training was restored."""

    name = "MLflow run"

    def get_link(self, operator: Any, *, ti_key: "TaskInstanceKey") -> str:
        """The address, or an empty text if the task returned nothing."""
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
        """The address, or an empty text if the task returned nothing."""
        result = _returned(ti_key)
        return version_url(load_runtime_settings(), result["name"], result["version"]) if "version" in result else ""


class ReportLink(BaseOperatorLink):
    """To the run's report, among the artifacts of the MLflow run."""

    name = "Run report"

    def get_link(self, operator: Any, *, ti_key: "TaskInstanceKey") -> str:
        """The address, or an empty text if the task returned nothing."""
        result = _returned(ti_key)
        if "report" not in result:
            return ""
        return report_url(load_runtime_settings(), result["mlflow_run"], result["report"])


class StoreLink(BaseOperatorLink):
    """To the bucket in the store's console, where there is one."""

    name = "Object store"

    def get_link(self, operator: Any, *, ti_key: "TaskInstanceKey") -> str:
        """The address, or an empty text if the task returned nothing or the store has no console."""
        result = _returned(ti_key)
        bucket = result.get("bucket") or str(result.get("remote_url", "")).removeprefix("s3://").partition("/")[0]
        return object_url(load_runtime_settings(), bucket, "") if bucket else ""


class ObjectLink(BaseOperatorLink):
    """To the object that holds one output of a stage, in the store's console; also where the stage was restored.

    :param path: of the output.
    """

    def __init__(self, path: str) -> None:
        self.path = path

    @property
    def name(self) -> str:
        """What the button says."""
        return f"Object of {self.path}"

    @property
    def xcom_key(self) -> str:
        """Of its own: a stage has several."""
        return f"_link_ObjectLink_{self.path}"

    def get_link(self, operator: Any, *, ti_key: "TaskInstanceKey") -> str:
        """The address, or an empty text if the task returned nothing or the store has no console."""
        locks = _returned(ti_key).get("lock", {})
        outs = [out for stages in locks.values() for entry in stages.values() for out in entry.get("outs", [])]
        for out in outs:
            if out["path"] == self.path and out.get("md5"):
                # The operator as it was rendered: a run may have a bucket of its own.
                bucket, _, prefix = str(operator.remote_url).removeprefix("s3://").partition("/")
                return object_url(load_runtime_settings(), bucket, f"{prefix}/{object_path(out['md5'])}")
        return ""


def store_links(*links: BaseOperatorLink) -> tuple[BaseOperatorLink, ...]:
    """These links to the store; in a task none, if there is no console they could lead to.

    The web UI knows the links by what the DAG processor parses. A task writes the address of each, by a request;
    without a console that would be an empty text, for which the web UI shows as little as for none.
    """
    return links if not get_parsing_context().task_id or _has_console() else ()


@cache
def _has_console() -> bool:
    try:
        return bool(object_url(load_runtime_settings(), "bucket", ""))
    except ConfigError:  # the task will say so
        return True


def report_url(runtime: RuntimeSettings, mlflow_run: Mapping[str, str], report: str) -> str:
    """The page of a report.

    :param report: its path among the artifacts of the MLflow run.
    """
    page = run_url(runtime, mlflow_run["experiment_id"], mlflow_run["run_id"])
    # MLflow's page takes the path as it stands: of a quoted ':' or '+' it says that the file does not exist.
    return f"{page}/artifacts/{quote(report, safe='/:+~')}"


def object_url(runtime: RuntimeSettings, bucket: str, key: str) -> str:
    """The page for a person who wants to see an object, or a bucket: in the store's console, or in that of AWS.

    :return: an empty text if there is neither, for which Airflow shows no button: the store's own address would refuse
        a browser, which has no credentials.
    """
    if runtime.store_console_url:
        return f"{runtime.store_console_url.rstrip('/')}/browser/{bucket}/{quote(key)}".rstrip("/")
    if not _is_aws(runtime.aws_endpoint_url):
        return ""
    query = {"region": runtime.aws_default_region, **({"prefix": key} if key else {})}
    return f"{AWS_CONSOLE}/{'object' if key else 'buckets'}/{bucket}?{urlencode(query)}"


def _is_aws(endpoint: str) -> bool:
    return not endpoint or (urlsplit(endpoint).hostname or "").endswith(".amazonaws.com")
