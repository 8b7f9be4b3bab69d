"""The manifest of a run: which code, configuration and bytes led to which model. Kept in the store, beside the data."""

import hashlib
import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import quote

from pydantic import BaseModel, ConfigDict, Field

from include.config_file import dump_yaml
from include.mlflow_client import require_run
from include.settings import CONFIG_FILE, PipelineConfig

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mypy_boto3_s3 import S3Client

FOLDER = "lineage"
PACKAGES = ("apache-airflow", "dvc", "joblib", "mlflow", "numpy", "pandas", "scikit-learn")


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Code(_Part):
    """The state of the code; both are None outside a git checkout that says so."""

    git_sha: str | None
    dirty: bool | None


class StageRecord(_Part):
    """How a stage came by its result. ``executed_in`` is the Airflow run that executed it, where that is known."""

    stage: str
    outcome: Literal["executed", "restored", "unchanged"]
    reason: str
    seconds: float
    executed_in: str | None


class FileRecord(_Part):
    """A file or folder (md5 ends in ``.dir``) that a stage read or wrote. ``size`` in bytes."""

    stage: str
    role: Literal["input", "output"]
    path: str
    md5: str | None
    size: int | None


class AirflowRun(_Part):
    """The run of the DAG."""

    dag_id: str
    run_id: str
    logical_date: str | None
    try_number: int


class Manifest(_Part):
    """All of it. ``lock`` holds the complete dvc.lock files by path."""

    schema_version: Literal[1] = 1
    recorded_at: str = Field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))
    airflow: AirflowRun
    code: Code
    config: dict[str, Any]
    lock: dict[str, Any]
    lock_sha256: str
    stages: list[StageRecord]
    files: list[FileRecord]
    mlflow_run: dict[str, str]
    metrics: dict[str, float]
    packages: dict[str, str]


def build(
    config: PipelineConfig,
    airflow: AirflowRun,
    results: Sequence[Mapping[str, Any]],
    code: Code,
) -> Manifest:
    """Put the facts of a run together.

    :param results: what the stage tasks returned; one of them publishes the metrics and the MLflow run.
    """
    published = {path: text for result in results for path, text in result["published"].items()}
    stages: dict[str, Any] = {}
    for result in results:
        for file, entries in result["lock"].items():
            stages.setdefault(file, {}).update(entries)
    lock = {file: {"schema": "2.0", "stages": entries} for file, entries in stages.items()}
    return Manifest(
        airflow=airflow,
        code=code,
        config=config.model_dump(mode="json"),
        lock=lock,
        lock_sha256=hashlib.sha256(json.dumps(lock, sort_keys=True).encode()).hexdigest(),
        stages=[StageRecord(**{name: result[name] for name in StageRecord.model_fields}) for result in results],
        files=[
            record for entries in stages.values() for name, entry in entries.items() for record in _files(name, entry)
        ],
        mlflow_run=json.loads(published[config.paths.mlflow_run]),
        metrics=flat_metrics(json.loads(published[config.paths.metrics])),
        packages=dict(_package_versions()),
    )


def flat_metrics(document: Mapping[str, Any]) -> dict[str, float]:
    """``{"test": {"accuracy": 0.9}}`` of reports/metrics.json -> ``{"test_accuracy": 0.9}``."""
    return {f"{part}_{name}": value for part in ("train", "test") for name, value in document[part].items()}


def key(run_id: str, file: str = "") -> str:
    """Where a file of a run's lineage is in the bucket."""
    return f"{FOLDER}/{quote(run_id, safe='')}/{file}"


def store(manifest: Manifest, s3: "S3Client", bucket: str) -> None:
    """Write the manifest, each dvc.lock and the resolved configuration below the run's key. The manifest goes last."""
    for file, text in documents(manifest).items():
        s3.put_object(Bucket=bucket, Key=key(manifest.airflow.run_id, file), Body=text.encode())


def documents(manifest: Manifest) -> dict[str, str]:
    """The texts of a lineage, by file name."""
    return {
        **{file: dump_yaml(lock) for file, lock in manifest.lock.items()},
        str(CONFIG_FILE): dump_yaml(manifest.config),
        "manifest.json": manifest.model_dump_json(indent=2),
    }


def tag_mlflow_run(manifest: Manifest, client: "MlflowClient") -> None:
    """Put the lineage on the MLflow run too.

    A run that restored the model adds its own folder of artifacts; the tags stay those of the run that trained.

    :raises DataError: the MLflow run is gone.
    """
    mlflow_run_id = manifest.mlflow_run["run_id"]
    require_run(client, mlflow_run_id)
    for file, text in documents(manifest).items():
        client.log_text(mlflow_run_id, text, key(manifest.airflow.run_id, file))
    have = client.get_run(mlflow_run_id).data.tags
    for name, value in tags(manifest).items():
        if name not in have:
            client.set_tag(mlflow_run_id, name, value)


def tags(manifest: Manifest) -> dict[str, str]:
    """What a model version and an MLflow run are found by."""
    outputs = {record.path: record.md5 for record in manifest.files if record.role == "output"}
    paths = manifest.config["paths"]
    return {
        "git_sha": f"{manifest.code.git_sha or 'unknown'}{' (dirty)' if manifest.code.dirty else ''}",
        "lock_sha256": manifest.lock_sha256,
        "data.source": manifest.config["data"]["source"],
        "data.version": manifest.config["data"]["version"] or "built-in",
        **{f"md5.{name}": str(outputs.get(paths[name])) for name in ("raw_data", "train_data", "test_data", "model")},
        "airflow.dag_id": manifest.airflow.dag_id,
        "airflow.run_id": manifest.airflow.run_id,
    }


def code_state(project_dir: Path) -> Code:
    """Ask git; where there is no checkout (a container), the variable GIT_SHA."""
    sha = _git(project_dir, "rev-parse", "HEAD")
    if sha is None:
        return Code(git_sha=os.environ.get("GIT_SHA"), dirty=None)
    changed = _git(project_dir, "status", "--porcelain", "--untracked-files=no")
    return Code(git_sha=sha, dirty=None if changed is None else bool(changed))


def _git(project_dir: Path, *arguments: str) -> str | None:
    # Git refuses a checkout of another owner, as a container's often is; this one is ours to read.
    command = ["git", "-c", f"safe.directory={project_dir}", "-C", str(project_dir), *arguments]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None


def _files(stage: str, entry: Mapping[str, Any]) -> list[FileRecord]:
    return [
        FileRecord(stage=stage, role=role, path=item["path"], md5=item.get("md5"), size=item.get("size"))
        for role, items in (("input", entry.get("deps", [])), ("output", entry.get("outs", [])))
        for item in items
    ]


def _package_versions() -> list[tuple[str, str]]:
    found = []
    for package in PACKAGES:
        try:
            found.append((package, version(package)))
        except PackageNotFoundError:
            continue
    return found
