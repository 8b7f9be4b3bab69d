"""Questions to the MLflow tracking server that take one request each, without MLflow's own client.

Importing that takes seconds. Where MLflow is a plain database or a folder, there is no server to ask: then it is
imported after all.
"""

import json
import re
from collections.abc import Callable, Mapping
from importlib.metadata import version as version_of_package
from typing import TYPE_CHECKING, Any, TypeVar

from include import mlflow_client
from include.errors import ServiceError
from include.mlflow_client import CHAMPION, connect, shown, translated_errors
from include.settings import RuntimeSettings

if TYPE_CHECKING:
    from mlflow import MlflowClient

NO_MLFLOW = "the server at {} is not MLflow. Check MLFLOW_TRACKING_URI."
CONNECT_TIMEOUT = 5  # seconds at most, of those that a request may take
_Answer = TypeVar("_Answer")


def run_stage(runtime: RuntimeSettings, run_id: str) -> str | None:
    """``active``; ``deleted`` if the MLflow run is in the bin; None if it is gone for good.

    :raises AccessError: the server refuses the credentials.
    :raises ServiceError: it does not answer, or is not MLflow.
    """
    if not _is_server(runtime):
        return _by_client(runtime, lambda client: mlflow_client.run_stage(client, run_id))
    asked = {"run_id": run_id}
    stage = _get(runtime, "api/2.0/mlflow/runs/get", asked, lambda one: one["run"]["info"]["lifecycle_stage"])
    return None if stage is None else str(stage)


def deleted_run(runtime: RuntimeSettings, run_id: str) -> bool:
    """Whether the MLflow run is gone, or in the bin.

    :raises AccessError, ServiceError: as for `run_stage`.
    """
    return run_stage(runtime, run_id) != "active"


def champion_version(runtime: RuntimeSettings, name: str) -> str | None:
    """The version of a registered model that has the alias `champion`, if one has.

    :raises AccessError, ServiceError: as for `run_stage`.
    """
    if not _is_server(runtime):
        return _by_client(runtime, lambda client: mlflow_client.version_of_alias(client, name, CHAMPION))
    asked = {"name": name, "alias": CHAMPION}
    version = _get(
        runtime, "api/2.0/mlflow/registered-models/alias", asked, lambda one: one["model_version"]["version"]
    )
    return None if version is None else str(version)


def tags_of_model(runtime: RuntimeSettings, name: str) -> dict[str, str]:
    """The tags of a registered model; none if it is gone.

    :raises AccessError, ServiceError: as for `run_stage`.
    """
    if not _is_server(runtime):
        model = _by_client(runtime, lambda client: mlflow_client.find_model(client, name))
        return dict(model.tags) if model is not None else {}
    found = _get(
        runtime,
        "api/2.0/mlflow/registered-models/get",
        {"name": name},
        lambda one: {tag["key"]: tag.get("value", "") for tag in one["registered_model"].get("tags", ())},
    )
    return found or {}


def run_of_version(runtime: RuntimeSettings, name: str, version: str) -> str | None:
    """The MLflow run that trained a version; None if the version is gone, or never had one.

    :raises AccessError, ServiceError: as for `run_stage`.
    """
    if not _is_server(runtime):
        return _by_client(runtime, lambda client: mlflow_client.run_of_version(client, name, version))
    found = _version_of_model(runtime, name, version)
    return str(found["run_id"]) if found.get("run_id") else None


def aliases_of_version(runtime: RuntimeSettings, name: str, version: str) -> list[str]:
    """The aliases of a version; none if it is gone.

    :raises AccessError, ServiceError: as for `run_stage`.
    """
    if not _is_server(runtime):
        there = _by_client(runtime, lambda client: mlflow_client.find_version(client, name, version))
        return list(there.aliases) if there is not None else []
    return list(_version_of_model(runtime, name, version).get("aliases", ()))


def server_version(runtime: RuntimeSettings) -> str:
    """The version of the tracking server; of the client, where there is no server.

    :raises AccessError, ServiceError: as for `run_stage`.
    """
    if not _is_server(runtime):
        return version_of_package("mlflow")
    answer = _get(runtime, "version", {}, _version, str)
    if answer is None:
        raise ServiceError(NO_MLFLOW.format(shown(runtime.mlflow_tracking_uri)))
    return str(answer)


def _version(text: str) -> str:
    if not re.fullmatch(r"\d+(\.\w+)+", text.strip()):
        raise ValueError(text)
    return text.strip()


def _version_of_model(runtime: RuntimeSettings, name: str, version: str) -> dict[str, Any]:
    asked = {"name": name, "version": version}
    return _get(runtime, "api/2.0/mlflow/model-versions/get", asked, lambda one: {**one["model_version"]}) or {}


def _is_server(runtime: RuntimeSettings) -> bool:
    return runtime.mlflow_tracking_uri.startswith(("http://", "https://"))


def _by_client(runtime: RuntimeSettings, ask: "Callable[[MlflowClient], _Answer]") -> _Answer:
    with translated_errors(runtime):
        return ask(connect(runtime))


def _get(
    runtime: RuntimeSettings,
    path: str,
    params: Mapping[str, str],
    read: Callable[[Any], _Answer],
    parse: Callable[[str], Any] = json.loads,
) -> _Answer | None:
    """Ask the server by one request; None if it knows no such thing.

    :param read: turns the answer into what is returned.
    :param parse: turns its text into the answer.
    """
    import requests

    password, timeout = runtime.mlflow_tracking_password, runtime.mlflow_http_request_timeout
    with translated_errors(runtime):
        answer = requests.get(
            f"{runtime.mlflow_tracking_uri.rstrip('/')}/{path}",
            params=params,
            auth=(runtime.mlflow_tracking_username, password.get_secret_value() if password else "")
            if runtime.mlflow_tracking_username
            else None,
            timeout=(min(CONNECT_TIMEOUT, timeout), timeout),
        )
        if answer.status_code == 404 or "RESOURCE_DOES_NOT_EXIST" in answer.text[:500]:
            return None
        # An alias that does not exist is an invalid parameter to MLflow.
        if answer.status_code == 400 and "alias" in answer.text:
            return None
        answer.raise_for_status()
    try:
        return read(parse(answer.text))
    # The login page of a proxy, say, or JSON of another server.
    except (ValueError, TypeError, KeyError, AttributeError):
        raise ServiceError(NO_MLFLOW.format(shown(runtime.mlflow_tracking_uri))) from None
