"""The model of config/config.yaml: everything that changes a result. `include.settings.config_file` reads the file."""

import codecs
import datetime as dt
import re
from pathlib import PurePosixPath
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, ValidationInfo, field_validator, model_validator

from include.models.settings import ModelConfig
from include.section import Line, RelativePath, Section, Seed
from include.settings.registry import LOWER_IS_BETTER, METRICS_OF_ONE_CLASS, RegistryConfig


def _without_credentials(value: str) -> str:
    parts = urlsplit(value) if value.startswith(("http://", "https://")) else None
    if parts and (
        "@" in parts.netloc or re.search(r"(?i)(^|&)(x-amz-|[^=]*(token|sig|key|password)[^=]*=)", parts.query)
    ):
        raise ValueError("must not contain credentials: it is logged and recorded; use a file, or s3:// with AWS_*")
    return value


def _parquet(value: str) -> str:
    if not value.endswith(".parquet"):
        raise ValueError("must end in .parquet: tables are kept as Parquet, so that every value keeps its type")
    return value


Table = Annotated[RelativePath, AfterValidator(_parquet)]


class PathsConfig(Section):
    """Files that the stages write, relative to the project's root."""

    raw_data: Table = Field(description="The data set as it was fetched (Parquet)")
    train_data: Table = Field(description="Rows to train on (Parquet)")
    test_data: Table = Field(description="Rows held out for the test (Parquet)")
    columns: RelativePath = Field(description="What each column is used as, and warnings about the data (JSON)")
    model: RelativePath = Field(description="The fitted scikit-learn pipeline (joblib)")
    metrics: RelativePath = Field(description="Metrics of both parts (JSON)")
    test_predictions: Table = Field(
        description="Truth, prediction and probabilities of each test row (Parquet)",
        examples=["reports/test_predictions.parquet"],
    )
    classification_report: RelativePath = Field(description="Precision, recall and F1 per class (JSON)")
    plots: RelativePath = Field(description="Folder of the tables behind the plots (CSV)")
    mlflow_run: RelativePath = Field(description="Which MLflow run trained the model (JSON)")

    @field_validator("*")
    @classmethod
    def _distinct(cls, value: str, info: Any) -> str:
        for other, path in info.data.items():
            if path == value:
                raise ValueError(f"is the same file as paths.{other}")
        return value

    @model_validator(mode="after")
    def _plots_are_apart(self) -> "PathsConfig":
        for name, path in self:
            if name != "plots" and PurePosixPath(path).parent == PurePosixPath(self.plots) and path.endswith(".csv"):
                raise ValueError(f"paths.{name} is a .csv file in paths.plots ({self.plots}), where the plots are")
        return self


class CsvConfig(Section):
    """How a CSV file is written; auto: found out where the file leaves no doubt."""

    separator: str = Field("auto", description="Character between two fields, whitespace (any number of), or auto")
    decimal: Literal["auto", ".", ","] = Field("auto", description="Decimal mark of numbers, or auto")
    thousands: Literal["auto", "none", ",", ".", "'", " ", "_"] = Field(
        "auto", description="Mark between groups of three digits, none, or auto"
    )
    encoding: Line = Field("auto", description="Encoding such as utf-8, latin-1, utf-16; auto: UTF-8, or by its mark")
    missing: list[str] | None = Field(
        None, description="Further texts that mean a missing value, such as ?; an empty field always does"
    )

    @field_validator("separator")
    @classmethod
    def _one_character(cls, value: str) -> str:
        if value not in ("auto", "whitespace") and (len(value) != 1 or value in '"\r\n\0'):
            raise ValueError('must be auto, whitespace or a single character such as ";" or "\\t" (in double quotes)')
        return value

    @field_validator("encoding")
    @classmethod
    def _encoding_that_python_knows(cls, value: str) -> str:
        try:
            is_text = value == "auto" or codecs.lookup(value)._is_text_encoding
        except LookupError:
            is_text = False
        if not is_text:
            raise ValueError("is not an encoding that Python knows, such as utf-8, latin-1, cp1252 or utf-16")
        return value

    @model_validator(mode="after")
    def _marks_differ(self) -> "CsvConfig":
        marks = {"separator": self.separator, "decimal": self.decimal, "thousands": self.thousands}
        chosen = [mark for mark in marks.values() if len(mark) == 1]
        if len(set(chosen)) < len(chosen):
            raise ValueError(
                f"separator, decimal and thousands must differ, not {', '.join(map(repr, marks.values()))}"
            )
        return self


Names = Annotated[list[Line] | None, Field(max_length=10_000)]


class DataConfig(Section):
    """Where the data come from, and what they must look like."""

    source: Annotated[Line, AfterValidator(_without_credentials)] = Field(
        description="sklearn:<name>, a path, or an http(s):// or s3:// address; may contain {date:%Y-%m-%d}"
    )
    version: Line | None = Field(None, description="Pinned by each run: ETag or hash of the source")
    format: Literal["auto", "csv", "parquet"] = Field("auto", description="File format; auto: by the file's ending")
    csv: CsvConfig = CsvConfig()
    target: Line = Field(description="Column to predict")
    drop: Names = Field(None, description="Columns to leave out: names, ids, what is not known before the fact")
    categorical: Literal["auto"] | Names = Field(
        "auto", description="Columns that are categories, also where they hold numbers; auto: the columns of text"
    )
    keep: Names = Field(None, description="Columns to use although they look like an id or a row number")
    max_missing_share: float = Field(0.0, ge=0, lt=1, description="Share of missing cells allowed per feature (0 to 1)")

    @model_validator(mode="after")
    def _columns_have_one_use(self) -> "DataConfig":
        for name in self.drop or ():
            if name == self.target:
                raise ValueError(f"drop names {name!r}, which is data.target")
            if name in (self.keep or ()) or name in (self.categorical or ()):
                raise ValueError(f"drop names {name!r}, which data.keep or data.categorical names too")
        if self.categorical != "auto" and self.target in (self.categorical or ()):
            raise ValueError(f"categorical names {self.target!r}, which is data.target: a target is always a category")
        return self


class SplitConfig(Section):
    """How the rows are divided into training and test."""

    test_size: float = Field(gt=0, lt=1, description="Share of rows held out for the test (0 to 1)")
    random_state: Seed


class MlflowConfig(Section):
    """Where the runs are tracked."""

    experiment: Line = Field(description="Name of the MLflow experiment")


class StorageConfig(Section):
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


class ScoringConfig(Section):
    """What the DAG `score_batch` scores with the champion, and where the predictions go."""

    input: Annotated[Line, AfterValidator(_without_credentials)] = Field(
        "sklearn:iris",
        description="sklearn:<name>, a path, or an http(s):// or s3:// address; may contain {date:%Y-%m-%d}",
    )
    format: Literal["auto", "csv", "parquet"] = Field("auto", description="File format; auto: by the file's ending")
    csv: CsvConfig = CsvConfig()
    prefix: RelativePath = Field("predictions", description="Where the predictions go in the bucket")

    @field_validator("prefix")
    @classmethod
    def _not_where_something_else_is(cls, value: str) -> str:
        if value.split("/")[0] in ("lineage", "locks"):
            raise ValueError("is already used by the pipeline; choose another folder")
        return value


CRON_PRESETS = ("@hourly", "@daily", "@weekly", "@monthly", "@quarterly", "@yearly")
PRESETS_WITHOUT_INTERVAL = ("@continuous", "@once")


class ScheduleConfig(Section):
    """When the DAG runs, and how it retries. Changes no result."""

    cron: Line | None = Field(None, description="Cron expression (UTC) or preset like @daily; null: manual runs only")

    @field_validator("cron")
    @classmethod
    def _cron_that_airflow_knows(cls, value: str | None) -> str | None:
        from croniter import CroniterBadDateError, croniter

        presets = (*CRON_PRESETS, *PRESETS_WITHOUT_INTERVAL)
        if value is not None and value not in presets and not croniter.is_valid(value):
            raise ValueError(f"is neither a cron expression nor one of {', '.join(presets)}")
        if value is not None and value not in presets:
            try:
                croniter(value, dt.datetime(2026, 1, 1, tzinfo=dt.UTC)).get_next()
            except CroniterBadDateError:
                raise ValueError("names a date that never comes") from None
        return value

    date: Literal["logical_date", "data_interval_start"] = Field(
        "logical_date", description="Which date {date} in data.source means"
    )

    @field_validator("date")
    @classmethod
    def _interval_that_there_is(cls, value: str, info: ValidationInfo) -> str:
        # A cron that is wrong itself is not in the data.
        if value == "data_interval_start" and info.data.get("cron", "") in (None, *PRESETS_WITHOUT_INTERVAL):
            raise ValueError(
                f"schedule.cron: {info.data['cron'] or 'null'} has no intervals; set a cron expression there, or "
                "logical_date here"
            )
        return value

    wait_minutes: float = Field(
        0, ge=0, le=10_080, description="How long a scheduled run waits for its source; 0: it fails at once"
    )
    start_date: dt.date = Field(strict=False, description="First date of the schedule and of catch-up (UTC)")
    catchup: bool = Field(False, description="Whether to run the dates missed since start_date")
    max_active_runs: int = Field(4, ge=1, le=100, description="Maximum number of runs at the same time")
    retries: int = Field(3, ge=0, le=10, description="Retries of a failed task, unless the error is permanent")
    retry_delay_seconds: int = Field(5, ge=1, le=3600, description="Seconds before the first retry; doubled each time")


class PipelineConfig(Section):
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

    @model_validator(mode="after")
    def _metrics_that_one_class_has(self) -> "PipelineConfig":
        for number, one in enumerate(self.registry.slices):
            if one.column == self.data.target and one.metric not in METRICS_OF_ONE_CLASS:
                raise ValueError(
                    f"registry.slices.{number}.metric: rows of one class have no {one.metric}; leave it out, which "
                    "means the recall of each class, or choose test_log_loss or test_brier"
                )
        return self

    @model_validator(mode="after")
    def _slices_that_make_sense(self) -> "PipelineConfig":
        seen = [(one.column, self.registry.metric_of(one, self.data.target)) for one in self.registry.slices]
        for number, (one, (column, metric)) in enumerate(zip(self.registry.slices, seen, strict=True)):
            key = f"registry.slices.{number}"
            if (column, metric) in seen[:number]:
                raise ValueError(f"{key}: column {column!r} is there twice with the same metric")
            if metric not in LOWER_IS_BETTER and (one.minimum or 0) > 1:
                name = "recall" if column == self.data.target else metric
                raise ValueError(f"{key}.minimum: {name} is never above 1")
        return self

    @property
    def remote_url(self) -> str:
        """The address of the DVC remote, ``s3://bucket/prefix``."""
        return f"s3://{self.storage.bucket}/{self.storage.prefix}"
