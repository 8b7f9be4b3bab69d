"""What the operators and the DAG share: the configuration of the run, and how tasks retry."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator, Connection
from airflow.sdk.definitions.retry_policy import ExceptionRetryPolicy, RetryAction, RetryRule
from airflow.sdk.exceptions import AirflowNotFoundException
from airflow.sdk.log import mask_secret
from pydantic import SecretStr

from dvc_airflow.connections import access_by, get_connection
from dvc_airflow.errors import ResultError, TaskError
from include.errors import AccessError, ConfigError, DataError
from include.settings import PROJECT_DIR, PipelineConfig, RuntimeSettings, ScheduleConfig, load_runtime_settings
from include.settings.config_file import load_config, validate_config
from ml_operators.results import ResolvedRun

if TYPE_CHECKING:
    from include.registry.registry import Registry


class PipelineOperator(BaseOperator):
    """Base of the operators that work with the configuration that `resolve_config` returned.

    :param resolved: what `ResolveConfigOperator` returned. (templated: an XComArg)
    """

    template_fields: Sequence[str] = ("resolved",)
    ui_color = "#e8f3d6"

    def __init__(self, *, resolved: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.resolved = resolved

    # Cached for one execution only: Airflow executes a copy of the operator.
    @cached_property
    def resolved_run(self) -> ResolvedRun:
        """The result of `resolve_config`.

        :raises ResultError: `resolve_config` returned nothing, as when it was marked a success by hand.
        """
        return ResolvedRun.from_xcom(self.resolved, "resolve_config")

    @cached_property
    def pipeline_config(self) -> PipelineConfig:
        """The run's configuration, checked."""
        return validate_config(self.resolved_run.config, "XCom of resolve_config")

    @cached_property
    def runtime(self) -> RuntimeSettings:
        """Addresses and secrets, read in the worker."""
        return runtime_settings()


def runtime_settings() -> RuntimeSettings:
    """Read addresses and secrets in the worker, and have Airflow mask the secrets wherever they might be printed."""
    settings = load_runtime_settings()
    if settings.airflow_store_conn_id:
        with _as_configuration(settings.airflow_store_conn_id):
            connection = get_connection(settings.airflow_store_conn_id, "AIRFLOW_STORE_CONN_ID")
        settings = settings_by(connection)
    return masked(settings)


async def runtime_settings_in_triggerer() -> RuntimeSettings:
    """The same in a trigger, where Connections are asked for without blocking the others."""
    settings = load_runtime_settings()
    if settings.airflow_store_conn_id:
        with _as_configuration(settings.airflow_store_conn_id):
            connection = await Connection.async_get(settings.airflow_store_conn_id)
        settings = settings_by(connection)
    return masked(settings)


def settings_by(connection: Connection) -> RuntimeSettings:
    """The settings, with the store's address and keys by an Airflow Connection.

    :raises ConfigError: it is of another type than ``aws``, or reaches the store in a way that the settings cannot say.
    """
    with _as_configuration(connection.conn_id):
        given = access_by(connection, "s3://").environment
        if "AWS_PROFILE" in given:
            raise TaskError("profile_name is not supported there: give the keys, or a role that the workers have")
    # What the Connection leaves out is not filled up by the environment: key and secret are of one account.
    names = ("AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
    known: dict[str, Any] = {name.lower(): given.get(name) for name in names} | {
        "aws_endpoint_url": given.get(names[0], "")
    }
    if "AWS_DEFAULT_REGION" in given:
        known["aws_default_region"] = given["AWS_DEFAULT_REGION"]
    return load_runtime_settings(**known)


@contextmanager
def _as_configuration(conn_id: str) -> Iterator[None]:
    """Say of which setting a Connection is that is missing or does not fit."""
    try:
        yield
    except (TaskError, AirflowNotFoundException) as error:
        raise ConfigError(f"AIRFLOW_STORE_CONN_ID={conn_id}: {error}") from None


def masked(settings: RuntimeSettings) -> RuntimeSettings:
    """The same settings; Airflow masks their secrets from now on."""
    for name in type(settings).model_fields:
        value = getattr(settings, name)
        if isinstance(value, SecretStr) and value.get_secret_value():
            mask_secret(value.get_secret_value())
    return settings


def registry_of(config: PipelineConfig, runtime: RuntimeSettings, mlflow: Any) -> "Registry":
    """The registry of a run's model; its lock is in the bucket of config/config.yaml, whatever bucket the run uses.

    :param mlflow: an MlflowClient.
    """
    from include.registry.registry import Registry

    return Registry(config, runtime, mlflow, load_config().storage.bucket)


def retry_arguments(schedule: ScheduleConfig) -> dict[str, Any]:
    """Arguments of every task: temporary errors are retried with backoff, permanent ones fail at once."""
    final = [
        RetryRule(
            exception=[ConfigError, DataError, AccessError, ResultError],
            action=RetryAction.FAIL,
            reason="a retry would not help",
        )
    ]
    return {
        "retries": schedule.retries,
        "retry_delay": timedelta(seconds=schedule.retry_delay_seconds),
        "retry_exponential_backoff": 2.0,
        "retry_policy": ExceptionRetryPolicy(rules=final),
    }


def store_environment() -> dict[str, str]:
    """For a process that uses the object store. Called in the worker; holds secrets."""
    return {**runtime_settings().store_environment(), "PIPELINE_PROJECT_DIR": str(PROJECT_DIR)}


def tracking_environment() -> dict[str, str]:
    """For a process that uses MLflow. Called in the worker; holds secrets."""
    return runtime_settings().tracking_environment()


def store_credentials() -> dict[str, str]:
    """The store's address and credentials as options of a DVC remote. Called in the worker; holds secrets."""
    return runtime_settings().dvc_credentials()


def store_timeouts() -> dict[str, int]:
    """What is set of the store's time-outs, as options of a DVC remote. Called in the worker."""
    return load_runtime_settings().dvc_timeouts()


def cache_dir() -> Path | None:
    """The DVC cache that the tasks share, None if they share none. Called in the worker."""
    return load_runtime_settings().shared_cache()
