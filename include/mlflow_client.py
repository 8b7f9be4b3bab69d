"""The connection to the MLflow tracking server, with bounded waiting and errors for people."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from include.errors import AccessError, ServiceError
from include.settings import RuntimeSettings

if TYPE_CHECKING:
    from mlflow import MlflowClient


def connect(runtime: RuntimeSettings) -> "MlflowClient":
    """Make the tracking server of the settings MLflow's default, and return a client."""
    os.environ.update(runtime.tracking_environment())  # MLflow takes credentials and limits from nowhere else
    import mlflow

    mlflow.set_tracking_uri(runtime.mlflow_tracking_uri)
    return mlflow.MlflowClient()


@contextmanager
def explained(runtime: RuntimeSettings) -> Iterator[None]:
    """Turn the MLflow client's errors into ours.

    :raises AccessError: the server refuses the credentials.
    :raises ServiceError: it does not answer, or answers with a fault.
    """
    from mlflow.exceptions import MlflowException

    try:
        yield
    except MlflowException as error:
        raise _explain(str(error), runtime.mlflow_tracking_uri) from None


def run_url(runtime: RuntimeSettings, experiment_id: str, run_id: str) -> str:
    """The run's page, as a browser reaches it."""
    return f"{ui_url(runtime)}/#/experiments/{experiment_id}/runs/{run_id}"


def version_url(runtime: RuntimeSettings, name: str, version: str) -> str:
    """The registered version's page, as a browser reaches it."""
    from urllib.parse import quote

    return f"{ui_url(runtime)}/#/models/{quote(name, safe='')}/versions/{version}"


def ui_url(runtime: RuntimeSettings) -> str:
    """The address of MLflow's pages, without a slash at the end."""
    return (runtime.mlflow_ui_url or runtime.mlflow_tracking_uri).rstrip("/")


def _explain(text: str, uri: str) -> ServiceError | AccessError:
    if any(f"error code {status}" in text for status in (401, 403)):
        return AccessError(
            f"MLflow at {uri} refuses access. Check MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD "
            "(environment or config/.env), and the server's allowed hosts."
        )
    if any(sign in text for sign in ("Max retries exceeded", "Connection", "timed out")):
        return ServiceError(f"MLflow at {uri} does not answer. Is it running, and is MLFLOW_TRACKING_URI right?")
    return ServiceError(f"MLflow at {uri}: {text.partition(chr(10))[0]}")
