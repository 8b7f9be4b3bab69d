"""Addresses, secrets and time-outs, which differ from place to place: the environment, then config/.env."""

import os
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from include.errors import ConfigError
from include.settings.places import ENV_FILE, PROJECT_DIR

# https://docs.aws.amazon.com/sdkref/latest/guide/environment-variables.html
ROLE_VARIABLES = (
    "AWS_PROFILE",
    "AWS_ROLE_ARN",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
)
Seconds = Annotated[int, Field(ge=1, le=3600)]


class RuntimeSettings(BaseSettings):
    """Addresses, secrets and time-outs: the environment, then config/.env, then defaults.

    By the default time-outs a service that is down or silent fails a task within a minute, with all that is retried.
    """

    model_config = SettingsConfigDict(env_file_encoding="utf-8", extra="ignore", frozen=True)

    aws_endpoint_url: str = Field("http://127.0.0.1:9000", description="Endpoint of the object store; empty for AWS")
    aws_access_key_id: str | None = None
    aws_secret_access_key: SecretStr | None = None
    aws_session_token: SecretStr | None = None
    aws_default_region: str = "us-east-1"
    airflow_store_conn_id: str | None = Field(
        None, description="Airflow Connection with the store's address and credentials, for Airflow's tasks"
    )
    store_console_url: str | None = Field(None, description="Web console of the store, for links")
    mlflow_tracking_uri: str = "http://127.0.0.1:5000"
    mlflow_tracking_username: str | None = None
    mlflow_tracking_password: SecretStr | None = None
    mlflow_ui_url: str | None = Field(None, description="MLflow as a browser reaches it; default: the tracking URI")
    dvc_cache_dir: Literal["none"] | Path | None = Field(
        None,
        description="DVC cache that tasks share, none where they share no disk; default: .dvc/cache of the project",
    )
    store_connect_timeout: Seconds = Field(5, description="Seconds to connect to the object store")
    store_read_timeout: Seconds = Field(15, description="Seconds to wait for data from the object store; DVC: 8")
    source_connect_timeout: Seconds = Field(5, description="Seconds to connect to an http(s):// data source")
    source_read_timeout: Seconds = Field(30, description="Seconds to wait for data from such a source")
    mlflow_http_request_timeout: Seconds = Field(15, description="Seconds to wait for MLflow's answer to a request")
    mlflow_http_request_max_retries: int = Field(2, ge=0, le=10, description="Retries of a request to MLflow")

    def store_environment(self) -> dict[str, str]:
        """The variables with which the stages, boto3, DVC and the AWS tools reach store and sources. Holds secrets."""
        # Where no keys are set, boto3 finds a role by these.
        roles = {name: os.environ.get(name) for name in ROLE_VARIABLES}
        values = {
            **roles,
            "AWS_ENDPOINT_URL": self.aws_endpoint_url,
            "AWS_ACCESS_KEY_ID": self.aws_access_key_id,
            "AWS_SECRET_ACCESS_KEY": _reveal(self.aws_secret_access_key),
            "AWS_SESSION_TOKEN": _reveal(self.aws_session_token),
            "AWS_DEFAULT_REGION": self.aws_default_region,
            "STORE_CONNECT_TIMEOUT": str(self.store_connect_timeout),
            "STORE_READ_TIMEOUT": str(self.store_read_timeout),
            "SOURCE_CONNECT_TIMEOUT": str(self.source_connect_timeout),
            "SOURCE_READ_TIMEOUT": str(self.source_read_timeout),
            # A store that is silent must fail the task within a minute: DVC's S3 client repeats each request by itself.
            "AWS_MAX_ATTEMPTS": "1",
        }
        return {name: value for name, value in values.items() if value}

    def tracking_environment(self) -> dict[str, str]:
        """The variables with which the MLflow client reaches the tracking server. Holds secrets."""
        values = {
            "MLFLOW_TRACKING_URI": self.mlflow_tracking_uri,
            "MLFLOW_TRACKING_USERNAME": self.mlflow_tracking_username,
            "MLFLOW_TRACKING_PASSWORD": _reveal(self.mlflow_tracking_password),
            # The client's own defaults (seven retries, 120 s each) hold a task for minutes when the server is down.
            "MLFLOW_HTTP_REQUEST_MAX_RETRIES": str(self.mlflow_http_request_max_retries),
            "MLFLOW_HTTP_REQUEST_TIMEOUT": str(self.mlflow_http_request_timeout),
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
            # MLflow looks for git's commit, which the tags have; without git it fills the log with advice.
            "GIT_PYTHON_REFRESH": "quiet",
        }
        return {name: value for name, value in values.items() if value}

    def dvc_credentials(self) -> dict[str, str]:
        """The store's address and credentials as options of a DVC remote. Holds secrets."""
        names = {
            "AWS_ENDPOINT_URL": "endpointurl",
            "AWS_ACCESS_KEY_ID": "access_key_id",
            "AWS_SECRET_ACCESS_KEY": "secret_access_key",
            "AWS_SESSION_TOKEN": "session_token",
            "AWS_DEFAULT_REGION": "region",
        }
        values = self.store_environment()
        return {option: values[name] for name, option in names.items() if name in values}

    def shared_cache(self, project_dir: Path = PROJECT_DIR) -> Path | None:
        """The DVC cache that the tasks share, None if they share none."""
        if self.dvc_cache_dir == "none":
            return None
        return self.dvc_cache_dir or project_dir / ".dvc" / "cache"

    def dvc_timeouts(self) -> dict[str, int]:
        """The store's time-outs as options of a DVC remote; those that are not set are left to `dvc_airflow`.

        Its default for reading is shorter: DVC's client repeats requests more often than ours.
        """
        options = {"connect_timeout": "store_connect_timeout", "read_timeout": "store_read_timeout"}
        return {option: getattr(self, name) for option, name in options.items() if name in self.model_fields_set}


def _reveal(secret: SecretStr | None) -> str | None:
    return secret.get_secret_value() if secret else None


def load_runtime_settings(project_dir: Path = PROJECT_DIR, **known: Any) -> RuntimeSettings:
    """Read the environment and config/.env.

    :param known: values that win over both.
    :raises ConfigError: a variable has an impossible value; its value is not repeated in the message.
    """
    try:
        return RuntimeSettings(_env_file=project_dir / ENV_FILE, **known)
    except ValidationError as error:
        names = ", ".join(".".join(map(str, e["loc"])).upper() + f" ({e['msg']})" for e in error.errors())
        raise ConfigError(f"environment or {ENV_FILE}: {names}. See config/.env.example.") from None
