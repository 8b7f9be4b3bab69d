"""The connection to the MLflow tracking server, with bounded waiting and errors for people."""

import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from include.errors import AccessError, ConfigError, DataError, PipelineError, ServiceError, sentence
from include.settings import CONFIG_FILE, RuntimeSettings, how_to_start

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run
    from mlflow.entities.model_registry import ModelVersion, RegisteredModel

CHAMPION = "champion"  # the alias of the version that is in use
WITHOUT_RESULT = "pipeline.without_result"  # the tag of an MLflow run that belongs to nothing; its value says why
_Answer = TypeVar("_Answer")


def connect(runtime: RuntimeSettings) -> "MlflowClient":
    """Make the tracking server of the settings MLflow's default, and return a client."""
    os.environ.update(runtime.tracking_environment())  # the only place from which MLflow takes credentials and limits
    import mlflow

    with translated_errors(runtime):
        mlflow.set_tracking_uri(runtime.mlflow_tracking_uri)
        return mlflow.MlflowClient()


def find_plugins() -> None:
    """Have MLflow look for its plugins among all packages that are installed, for this process and its forks."""
    from mlflow.tracking._model_registry.client import ModelRegistryClient

    ModelRegistryClient("http://127.0.0.1", "http://127.0.0.1")  # type: ignore[no-untyped-call]


def require_run(client: "MlflowClient", run_id: str) -> None:
    """Make sure that the MLflow run is there, and not in the bin.

    :raises DataError: it is gone.
    """
    if run_stage(client, run_id) != "active":
        raise DataError(
            f"MLflow run {run_id}, which trained this model, was deleted. Restore it with `mlflow runs restore "
            f"--run-id {run_id}`, or change a param so that the model is trained again."
        )


def run_stage(client: "MlflowClient", run_id: str) -> str | None:
    """``active``; ``deleted`` if the MLflow run is in the bin; None if it is gone for good."""
    run = _found(partial(client.get_run, run_id))
    return str(run.info.lifecycle_stage) if run is not None else None


def find_model(client: "MlflowClient", name: str) -> "RegisteredModel | None":
    """The registered model; None if it does not exist."""
    return _found(partial(client.get_registered_model, name))


def find_version(client: "MlflowClient", name: str, version: str) -> "ModelVersion | None":
    """The version of a registered model; None if it was deleted."""
    return _found(partial(client.get_model_version, name, version))


def run_of_version(client: "MlflowClient", name: str, version: str) -> str | None:
    """The MLflow run that trained a version; None if the version was deleted, or never had one."""
    found = find_version(client, name, version)
    return found.run_id or None if found is not None else None


def version_of_alias(client: "MlflowClient", name: str, alias: str) -> str | None:
    """The version of a registered model that has the alias; None if no version has it, or the model does not exist."""
    model = find_model(client, name)
    version = model.aliases.get(alias) if model is not None else None
    return str(version) if version is not None else None


def _found(ask: Callable[[], _Answer]) -> _Answer | None:
    """What MLflow's client answers; None if what it is asked for does not exist."""
    from mlflow.exceptions import MlflowException

    try:
        return ask()
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return None


def versions_of_model(client: "MlflowClient", name: str) -> list[str]:
    """All versions of a registered model, the first one first."""
    # MLflow's filter finds no name with a quote or a backslash, however it is escaped: `_` stands for any character.
    pattern = re.sub(r"[^A-Za-z0-9 .-]", "_", name)
    return _versions(client, f"name LIKE '{pattern}'", name)


def versions_of_run(client: "MlflowClient", name: str, mlflow_run_id: str) -> list[str]:
    """The versions of a registered model that belong to an MLflow run, the first one first."""
    return _versions(client, f"run_id = '{mlflow_run_id}'", name)


def has_version(client: "MlflowClient", mlflow_run_id: str) -> bool:
    """Whether a version of any registered model belongs to an MLflow run."""
    return bool(client.search_model_versions(f"run_id = '{mlflow_run_id}'", max_results=1))


def _versions(client: "MlflowClient", condition: str, name: str) -> list[str]:
    # Oldest first: a version that is registered meanwhile comes on the last page.
    search = partial(client.search_model_versions, condition, order_by=["creation_timestamp ASC"])
    return sorted((str(one.version) for one in _all_pages(search) if one.name == name), key=int)


def running_runs(client: "MlflowClient", experiment_id: str, tags: Mapping[str, str]) -> "list[Run]":
    """The MLflow runs of an experiment that are RUNNING and have these tags."""
    search = partial(client.search_runs, [experiment_id], "attributes.status = 'RUNNING'")
    return [run for run in _all_pages(search) if all(run.data.tags.get(name) == value for name, value in tags.items())]


def runs_without_lineage(client: "MlflowClient", experiment_id: str, dag_id: str) -> "list[Run]":
    """The MLflow runs of an experiment that tasks of a DAG logged, and that no lineage was recorded of; without those
    that `mark_without_result` has marked.
    """
    missing = f"tags.lock_sha256 IS NULL AND tags.`{WITHOUT_RESULT}` IS NULL"
    search = partial(client.search_runs, [experiment_id], f"{missing} AND tags.`airflow.dag_id` = '{dag_id}'")
    return list(_all_pages(search))


def mark_without_result(client: "MlflowClient", run: "Run", reason: str) -> None:
    """Tag an MLflow run that belongs to no result with the reason. A FINISHED or RUNNING one is then KILLED.

    It is not deleted: what it logged stays to be seen.
    """
    client.set_tag(run.info.run_id, WITHOUT_RESULT, reason)
    if run.info.status not in ("FAILED", "KILLED"):
        client.set_terminated(run.info.run_id, status="KILLED", end_time=run.info.end_time)


def _all_pages(search: Callable[..., Any]) -> Iterator[Any]:
    """What a search of MLflow's client finds, on all pages."""
    token = None
    while True:
        page = search(page_token=token)
        yield from page
        token = page.token
        if not token:
            return


def close_runs(client: "MlflowClient", run_ids: Iterable[str]) -> None:
    """Set these runs, with which nobody goes on, to KILLED."""
    for run_id in run_ids:
        client.set_terminated(run_id, status="KILLED")


@contextmanager
def translated_errors(runtime: RuntimeSettings) -> Iterator[None]:
    """Turn the MLflow client's errors into ours.

    :raises AccessError: the server refuses the credentials.
    :raises ConfigError: the server will never accept what it was asked.
    :raises ServiceError: it does not answer, answers with a fault, or refuses this request (403).
    """
    import requests

    try:
        yield
    except requests.RequestException as error:  # of artifacts and our own, which do not go through MLflow's client
        raise _explain(str(error), "", runtime.mlflow_tracking_uri) from None
    except Exception as error:
        # Not imported for that alone: it takes seconds, and who does not use MLflow's client has none of its errors.
        exceptions = sys.modules.get("mlflow.exceptions")
        if exceptions is None or not isinstance(error, exceptions.MlflowException):
            raise
        raise _explain(str(error), error.error_code, runtime.mlflow_tracking_uri) from None


def run_url(runtime: RuntimeSettings, experiment_id: str, run_id: str) -> str:
    """The run's page, as a browser reaches it."""
    return f"{ui_url(runtime)}/#/experiments/{experiment_id}/runs/{run_id}"


def version_url(runtime: RuntimeSettings, name: str, version: str) -> str:
    """The registered version's page, as a browser reaches it."""
    from urllib.parse import quote

    return f"{ui_url(runtime)}/#/models/{quote(name, safe='')}/versions/{version}"


def ui_url(runtime: RuntimeSettings) -> str:
    """The address of MLflow's pages, without a slash at the end."""
    return (runtime.mlflow_ui_url or shown(runtime.mlflow_tracking_uri)).rstrip("/")


def shown(uri: str) -> str:
    """An address without the name and password that may be in it."""
    return re.sub(r"(?<=://)[^/@]*@", "", uri)


def _explain(text: str, code: str, uri: str) -> PipelineError:
    text, uri = shown(text), shown(uri)
    if re.search(r"error code 401|\b401 Client Error", text):
        return AccessError(
            f"MLflow at {uri} refuses the credentials. Check MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD "
            "(environment or config/.env)."
        )
    if re.search(r"error code 403|\b403 Client Error", text):
        # Not final: of two runs that make the same experiment at the same time, MLflow refuses one for a moment.
        return ServiceError(
            f"MLflow at {uri} refuses access (403). If this persists, check the permissions of the user "
            "MLFLOW_TRACKING_USERNAME, and the server's allowed hosts."
        )
    if any(sign in text for sign in ("Max retries exceeded", "Connection", "timed out")):
        return ServiceError(
            f"MLflow at {uri} does not answer. Is it running, and is MLFLOW_TRACKING_URI right?{how_to_start(uri)}"
        )
    first_line = sentence(text.partition("\n")[0])
    if code in ("INVALID_PARAMETER_VALUE", "INVALID_STATE", "RESOURCE_DOES_NOT_EXIST"):
        return ConfigError(
            f"MLflow at {uri} rejected the request: {first_line} Check mlflow and registry in {CONFIG_FILE}."
        )
    return ServiceError(f"MLflow at {uri}: {first_line}")
