"""The models of the two sources of settings: `PipelineConfig` (config/config.yaml) and `RuntimeSettings` (environment).

What changes a result is in the first, what differs from place to place in the second. Nothing is read at import;
`include.config_file` reads the first.
"""

import os
import re
from datetime import date
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, SettingsConfigDict

from include.errors import ConfigError

PROJECT_DIR = Path(__file__).resolve().parent.parent
# https://docs.aws.amazon.com/sdkref/latest/guide/environment-variables.html
ROLE_VARIABLES = (
    "AWS_PROFILE",
    "AWS_ROLE_ARN",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
)
CONFIG_FILE = Path("config/config.yaml")
ENV_FILE = Path("config/.env")


def _inside_project(value: str) -> str:
    path = PurePosixPath(value)
    if path.is_absolute() or ".." in path.parts or str(path) != value:
        raise ValueError("must be a plain relative path below the project's root, like data/raw/dataset.csv")
    return value


def _single_line(value: str) -> str:
    if not value.isprintable():
        raise ValueError("must not hold control characters or line breaks")
    return value


RelativePath = Annotated[
    str, Field(min_length=1, max_length=255, pattern=r"^[A-Za-z0-9._/-]+$"), AfterValidator(_inside_project)
]
Line = Annotated[str, Field(min_length=1, max_length=1024), AfterValidator(_single_line)]
Seed = Annotated[int, Field(ge=0, le=2**32 - 1, description="Seed of the random generator")]
Seconds = Annotated[int, Field(ge=1, le=3600)]


def _without_credentials(value: str) -> str:
    parts = urlsplit(value) if value.startswith(("http://", "https://")) else None
    if parts and (
        "@" in parts.netloc or re.search(r"(?i)(^|&)(x-amz-|[^=]*(token|sig|key|password)[^=]*=)", parts.query)
    ):
        raise ValueError("must hold no credentials, for it is logged and recorded; use a file, or s3:// and AWS_*")
    return value


class _Section(BaseModel):
    # Strict: a quoted number, or yes for a bool, is a slip of the pen that DVC would hash as something else.
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class PathsConfig(_Section):
    """Files that the stages write, relative to the project's root."""

    raw_data: RelativePath = Field(description="The data set as it was fetched (CSV)")
    train_data: RelativePath = Field(description="Rows to train on (CSV)")
    test_data: RelativePath = Field(description="Rows held out for the test (CSV)")
    model: RelativePath = Field(description="The fitted scikit-learn pipeline (joblib)")
    metrics: RelativePath = Field(description="Metrics and classification report (JSON)")
    confusion_matrix: RelativePath = Field(description="Actual and predicted class per test row (CSV)")
    roc_curve: RelativePath = Field(description="ROC curve of each class against the rest, on the test rows (CSV)")
    coefficients: RelativePath = Field(description="Learned weight of each feature, per class (CSV)")
    mlflow_run: RelativePath = Field(description="Which MLflow run trained the model (JSON)")

    @field_validator("*")
    @classmethod
    def _distinct(cls, value: str, info: Any) -> str:
        for other, path in info.data.items():
            if path == value:
                raise ValueError(f"is the same file as paths.{other}")
        return value


class DataConfig(_Section):
    """Where the data come from, and what they must look like."""

    source: Annotated[Line, AfterValidator(_without_credentials)] = Field(
        description="sklearn:<name>, a path, or an http(s):// or s3:// address; may hold {date:%Y-%m-%d}"
    )
    version: Line | None = Field(None, description="Pinned by each run: ETag or hash of the source")
    format: Literal["auto", "csv", "parquet"] = Field("auto", description="File format; auto: by the file's ending")
    target: Line = Field(description="Column to predict")
    max_missing_share: float = Field(0.0, ge=0, lt=1, description="Share of missing cells allowed per feature (0 to 1)")


class SplitConfig(_Section):
    """How the rows are divided into training and test."""

    test_size: float = Field(gt=0, lt=1, description="Share of rows held out for the test (0 to 1)")
    random_state: Seed


class ModelConfig(_Section):
    """Hyperparameters of scikit-learn's LogisticRegression, under its own names."""

    C: float = Field(gt=0, le=1e12, description="Inverse of the regularisation strength")
    solver: Literal["lbfgs", "liblinear", "newton-cg", "newton-cholesky", "sag", "saga"] = Field(
        description="Optimisation algorithm; liblinear knows two classes only"
    )
    tol: float = Field(gt=0, le=1, description="Tolerance at which the solver stops")
    max_iter: int = Field(ge=1, le=1_000_000, description="Upper limit of iterations")
    fit_intercept: bool = Field(description="Whether to fit an intercept")
    class_weight: Literal["balanced"] | None = Field(description="balanced: weigh classes by their inverse frequency")
    random_state: Seed


class MlflowConfig(_Section):
    """Where the runs are tracked."""

    experiment: Line = Field(description="Name of the MLflow experiment")


TestMetric = Literal[
    "test_accuracy", "test_precision_macro", "test_recall_macro", "test_f1_macro", "test_roc_auc_ovr", "test_log_loss"
]
LOWER_IS_BETTER = frozenset({"test_log_loss"})


class RegistryConfig(_Section):
    """The model registry, and the gate before the alias `champion`."""

    model_name: Annotated[Line, Field(pattern=r"^[^/:?]+$")] = Field(description="Name of the registered model")
    metric: TestMetric = Field(description="Test metric that the gate looks at")
    minimum: float = Field(
        ge=0, description="The worst value that may be champion: at least this (at most, where lower is better)"
    )
    min_gain: float = Field(0.0, ge=0, description="How much better than the champion; 0: as good, and newer")
    tolerances: dict[TestMetric, Annotated[float, Field(ge=0)]] = Field(
        default_factory=dict, description="Further metrics, and by how much each may be worse than the champion's"
    )
    approval: Literal["auto", "manual"] = Field(
        "auto", description="manual: a person approves in the web UI before a model becomes champion"
    )

    @model_validator(mode="after")
    def _minimum_that_can_be_reached(self) -> "RegistryConfig":
        if self.metric not in LOWER_IS_BETTER and self.minimum > 1:
            raise ValueError(f"registry.minimum: {self.metric} is never above 1")
        return self


class StorageConfig(_Section):
    """The place of the bytes in the object store."""

    # https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html
    bucket: str = Field(min_length=3, max_length=63, description="Bucket (3 to 63 of a-z, 0-9, '-' and '.')")
    prefix: RelativePath = Field(description="Where DVC keeps its objects in the bucket")

    @field_validator("bucket")
    @classmethod
    def _bucket_that_s3_allows(cls, value: str) -> str:
        label = r"[a-z0-9]([a-z0-9-]*[a-z0-9])?"
        is_address = re.fullmatch(r"\d+(\.\d+){3}", value)
        if not re.fullmatch(rf"{label}(\.{label})*", value) or is_address:
            raise ValueError(
                "S3 forbids this name: use 3 to 63 lower-case letters, digits, '-' and '.', "
                "a letter or digit at both ends, and not the form of an IP address"
            )
        return value


class ScoringConfig(_Section):
    """What the DAG `score_batch` scores with the champion, and where the predictions go."""

    input: Annotated[Line, AfterValidator(_without_credentials)] = Field(
        "sklearn:iris",
        description="sklearn:<name>, a path, or an http(s):// or s3:// address; may hold {date:%Y-%m-%d}",
    )
    format: Literal["auto", "csv", "parquet"] = Field("auto", description="File format; auto: by the file's ending")
    prefix: RelativePath = Field("predictions", description="Where the predictions go in the bucket")

    @field_validator("prefix")
    @classmethod
    def _not_where_something_else_is(cls, value: str) -> str:
        if value.split("/")[0] in ("lineage", "locks"):
            raise ValueError("is where the pipeline keeps something else; choose another folder")
        return value


class ScheduleConfig(_Section):
    """When the DAG runs, and how it retries. Changes no result."""

    cron: Line | None = Field(
        None, description="Cron expression or preset like @daily; null: by hand and backfills only"
    )

    @field_validator("cron")
    @classmethod
    def _cron_that_airflow_knows(cls, value: str | None) -> str | None:
        from croniter import croniter

        presets = ("@hourly", "@daily", "@weekly", "@monthly", "@quarterly", "@yearly", "@continuous", "@once")
        if value is not None and value not in presets and not croniter.is_valid(value):
            raise ValueError(f"is neither a cron expression nor one of {', '.join(presets)}")
        return value

    start_date: date = Field(strict=False, description="First date that catch-up and the schedule consider (UTC)")
    catchup: bool = Field(False, description="Whether dates missed since start_date are run")
    max_active_runs: int = Field(4, ge=1, le=100, description="Runs of the DAG at the same time")
    retries: int = Field(3, ge=0, le=10, description="Further tries of a task whose fault may pass")
    retry_delay_seconds: int = Field(5, ge=1, le=3600, description="Seconds before the first retry; doubled each time")


class PipelineConfig(_Section):
    """All of config/config.yaml."""

    paths: PathsConfig
    data: DataConfig
    split: SplitConfig
    model: ModelConfig
    mlflow: MlflowConfig
    registry: RegistryConfig
    storage: StorageConfig
    scoring: ScoringConfig = ScoringConfig()
    schedule: ScheduleConfig

    @property
    def remote_url(self) -> str:
        """The address of the DVC remote, ``s3://bucket/prefix``."""
        return f"s3://{self.storage.bucket}/{self.storage.prefix}"


class RuntimeSettings(BaseSettings):
    """Addresses, secrets and time-outs: the environment, then config/.env, then defaults.

    By the default time-outs a service that is down or silent fails a task within a minute, with all that is retried.
    """

    model_config = SettingsConfigDict(env_file_encoding="utf-8", extra="ignore", frozen=True)

    aws_endpoint_url: str = Field("http://127.0.0.1:9000", description="Object store; empty: AWS itself")
    aws_access_key_id: str | None = None
    aws_secret_access_key: SecretStr | None = None
    aws_session_token: SecretStr | None = None
    aws_default_region: str = "us-east-1"
    store_console_url: str | None = Field(None, description="Web console of the store, for links")
    mlflow_tracking_uri: str = "http://127.0.0.1:5000"
    mlflow_tracking_username: str | None = None
    mlflow_tracking_password: SecretStr | None = None
    mlflow_ui_url: str | None = Field(None, description="MLflow as a browser reaches it; default: the tracking URI")
    dvc_cache_dir: Literal["none"] | Path | None = Field(
        None, description="DVC cache that tasks share, none if they share no disk; default: .dvc/cache of the project"
    )
    store_connect_timeout: Seconds = Field(5, description="Seconds to connect to the object store")
    store_read_timeout: Seconds = Field(15, description="Seconds between two pieces of the store's answer; DVC: 8")
    source_connect_timeout: Seconds = Field(5, description="Seconds to connect to an http(s):// data source")
    source_read_timeout: Seconds = Field(30, description="Seconds between two pieces of such a source's answer")
    mlflow_http_request_timeout: Seconds = Field(15, description="Seconds that MLflow may take for a request")
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
