"""The manifest of a run: which code, configuration and bytes led to which model."""

import hashlib
import json
import platform
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Literal, Protocol

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from include.errors import DataError
from include.lineage.code_state import Code
from include.settings import CONFIG_FILE, PipelineConfig
from include.settings.config_file import dump_yaml
from include.stages.score import metrics_by_name
from include.store.stored_objects import Md5, ProjectPath, inside_project

SCHEMA_VERSION = 3
READABLE = (2, 3)  # 2: without the pack of the code
# What is data of a run, by their names in the configuration's `paths`
DATA = ("raw_data", "train_data", "test_data", "model")
TAGGED = (*DATA, "test_predictions")  # the gate reads those of the champion by its tag
PACKAGES = ("apache-airflow", "dvc", "joblib", "mlflow", "numpy", "pandas", "scikit-learn", "scipy")


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class StageRecord(_Part):
    """How a stage got its result.

    ``executed_in`` is the Airflow run that executed it, where that is known; ``seconds`` is what this run needed for
    it, from ``started_at`` on (ISO 8601, UTC).
    """

    stage: str
    outcome: Literal["executed", "restored", "unchanged"]
    reason: str
    started_at: str | None = None
    seconds: float
    executed_in: str | None

    @classmethod
    def of(cls, ended: "EndedStage") -> "StageRecord":
        """From how a stage ended."""
        return cls.model_validate({name: getattr(ended, name) for name in cls.model_fields})


class FileRecord(_Part):
    """A file or folder (md5 ends in ``.dir``) that a stage read or wrote. ``size`` in bytes."""

    stage: str
    role: Literal["input", "output"]
    path: str
    md5: Md5 | None
    size: int | None

    @model_validator(mode="after")
    def _outputs_are_inside(self) -> "FileRecord":
        if self.role == "output":
            inside_project(self.path)
        return self


class AirflowRun(_Part):
    """The run of the DAG. ``triggered_by`` is a user's name where there is one, else the way it was triggered."""

    dag_id: str
    run_id: str
    logical_date: str | None
    try_number: int
    run_type: str | None = None
    triggered_by: str | None = None
    started_at: str
    url: str | None = None


class ModelVersion(_Part):
    """The registered version."""

    name: str
    version: str


class Manifest(_Part):
    """All of it. ``lock`` holds the complete dvc.lock files by path."""

    schema_version: Literal[2, 3] = 3
    recorded_at: str = Field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))
    airflow: AirflowRun
    code: Code
    config: dict[str, Any]
    lock: dict[ProjectPath, Any]
    lock_sha256: str
    stages: list[StageRecord]
    files: list[FileRecord]
    mlflow_run: dict[str, str]
    model: ModelVersion | None = None
    metrics: dict[str, float]
    warnings: list[str] = []  # about the data, by the stage `preprocess`
    packages: dict[str, str]

    @property
    def outputs(self) -> list[FileRecord]:
        """What the stages made."""
        return [record for record in self.files if record.role == "output"]

    def outcome_of(self, name: str) -> str | None:
        """How the stage got its result that makes one of ``config.paths``; None if no stage makes it."""
        path = self.config["paths"].get(name)
        stage = next((record.stage for record in self.outputs if record.path == path), None)
        return next((record.outcome for record in self.stages if record.stage == stage), None)

    def md5_of(self, name: str) -> str | None:
        """The md5 of one of ``config.paths``, such as ``model``; None if no stage made it."""
        path = self.config["paths"].get(name)
        return next((record.md5 for record in self.outputs if record.path == path), None)


class EndedStage(Protocol):
    """How a stage ended: the fields of `StageRecord`, its lock entries by file and name, and what it published."""

    @property
    def stage(self) -> str: ...  # noqa: D102
    @property
    def outcome(self) -> str: ...  # noqa: D102
    @property
    def reason(self) -> str: ...  # noqa: D102
    @property
    def started_at(self) -> str | None: ...  # noqa: D102
    @property
    def seconds(self) -> float: ...  # noqa: D102
    @property
    def executed_in(self) -> str | None: ...  # noqa: D102
    @property
    def lock(self) -> Mapping[str, Mapping[str, Any]]: ...  # noqa: D102
    @property
    def published(self) -> Mapping[str, str]: ...  # noqa: D102


def build(config: PipelineConfig, airflow: AirflowRun, results: Sequence[EndedStage], code: Code) -> Manifest:
    """Build the manifest of a run.

    :param results: of the stages, which publish the use of the columns, the metrics and the MLflow run.
    """
    published = {path: text for result in results for path, text in result.published.items()}
    stages: dict[str, Any] = {}
    for result in results:
        for file, entries in result.lock.items():
            stages.setdefault(file, {}).update(entries)
    lock = {file: {"schema": "2.0", "stages": entries} for file, entries in stages.items()}
    return Manifest(
        airflow=airflow,
        code=code,
        config=config.model_dump(mode="json"),
        lock=lock,
        lock_sha256=_sha256(lock),
        stages=[StageRecord.of(result) for result in results],
        files=_files(lock),
        mlflow_run=json.loads(published[config.paths.mlflow_run]),
        metrics=metrics_by_name(json.loads(published[config.paths.metrics])),
        warnings=json.loads(published[config.paths.columns])["warnings"],
        packages=package_versions(),
    )


def parse(text: str | bytes, where: str) -> Manifest:
    """Read a manifest.

    :raises DataError: it is damaged, or of a schema that this version does not know.
    """
    try:
        document = json.loads(text)
        schema = document["schema_version"]
    except (ValueError, KeyError, TypeError):
        raise DataError(f"{where} is not the manifest of a run: it was truncated or changed.") from None
    if not isinstance(schema, int):
        raise DataError(f"{where} is not the manifest of a run: its schema version is {schema!r}.")
    if schema not in READABLE:
        way = "Update this project to read it" if schema > SCHEMA_VERSION else "Run that configuration again"
        raise DataError(
            f"{where} has schema version {schema}; this version reads {READABLE[0]} to {READABLE[-1]}. {way}."
        )
    try:
        manifest = Manifest.model_validate(document)
        if not {"paths", "data", "storage"} <= manifest.config.keys() or "run_id" not in manifest.mlflow_run:
            raise DataError(f"{where} was changed or is damaged: its config or mlflow_run is incomplete.")
        if manifest.lock_sha256 != _sha256(manifest.lock) or manifest.files != _files(manifest.lock):
            raise DataError(f"{where} was changed: its dvc.lock or files do not match its lock_sha256.")
        return manifest
    except ValidationError as error:
        keys = ", ".join(sorted({".".join(map(str, problem["loc"])) for problem in error.errors()}))
        raise DataError(f"{where} was changed or is damaged; invalid: {keys}.") from None


def documents(manifest: Manifest) -> dict[str, str]:
    """The texts of a lineage, by file name. The manifest comes last: with it the lineage counts."""
    return {
        **{file: dump_yaml(lock) for file, lock in manifest.lock.items()},
        str(CONFIG_FILE): dump_yaml(manifest.config),
        "manifest.json": manifest.model_dump_json(indent=2),
    }


def tags(manifest: Manifest) -> dict[str, str]:
    """The tags by which a model version and an MLflow run are found."""
    data = manifest.config["data"]
    return {
        "git_sha": str(manifest.code),
        "lock_sha256": manifest.lock_sha256,
        "data.source": data["source"],
        "data.version": data["version"] or "built-in",
        **{f"md5.{name}": str(manifest.md5_of(name)) for name in TAGGED},
        "airflow.dag_id": manifest.airflow.dag_id,
        "airflow.run_id": manifest.airflow.run_id,
        **({"airflow.url": manifest.airflow.url} if manifest.airflow.url else {}),
    }


def _sha256(lock: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(lock, sort_keys=True).encode()).hexdigest()


def _files(lock: Mapping[str, Any]) -> list[FileRecord]:
    roles: tuple[tuple[Literal["input", "output"], str], ...] = (("input", "deps"), ("output", "outs"))
    return [
        FileRecord(stage=stage, role=role, path=item["path"], md5=item.get("md5"), size=item.get("size"))
        for file in lock.values()
        for stage, entry in file["stages"].items()
        for role, key in roles
        for item in entry.get(key, [])
    ]


def package_versions() -> dict[str, str]:
    """The versions of Python and of the packages that a result may depend on."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        with suppress(PackageNotFoundError):
            found[package] = version(package)
    return found
