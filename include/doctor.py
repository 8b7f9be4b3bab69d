"""Examine the surroundings of the pipeline: one finding per thing that it needs."""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from include.errors import PipelineError
from include.mlflow_client import shown
from include.mlflow_requests import champion_version, server_version, tags_of_model
from include.registry.history import champion_changes, promotion_chain
from include.registry.lost_run import lost_run
from include.settings import CONFIG_FILE, ENV_FILE, PROJECT_DIR, PipelineConfig, RuntimeSettings, load_runtime_settings
from include.settings.config_file import load_config
from include.store.client import client, translated_errors

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

PACKAGES = ("apache-airflow", "boto3", "dvc", "mlflow", "pandas", "pydantic-settings", "scikit-learn")
CLOCK_TOLERANCE = 300  # seconds; S3 refuses requests that are off by 900
FREE_BYTES = 1024**3


@dataclass(frozen=True)
class Finding:
    """The state of one thing. ``detail`` describes it, and says what to do if it is not ok."""

    what: str
    ok: bool
    detail: str


def examine() -> Iterator[Finding]:
    """Check everything. A failed check hides no other, except those that depend on it."""
    yield from _each({"packages": _packages})
    config = runtime = None
    try:
        config = load_config()
        yield Finding("config", True, f"{CONFIG_FILE} is valid")
    except PipelineError as error:
        yield Finding("config", False, str(error))
    try:
        runtime = load_runtime_settings()
        yield Finding("environment", True, _env_file())
    except PipelineError as error:
        yield Finding("environment", False, str(error))
    if config and runtime:
        yield from _each(_examinations(config, runtime))


def _examinations(config: PipelineConfig, runtime: RuntimeSettings) -> dict[str, Callable[[], str]]:
    return {
        "store": lambda: _store(config, runtime),
        "store permissions": lambda: _permissions(config, runtime),
        "store locks": lambda: _locks(config, runtime),
        "clock": lambda: _clock(config, runtime),
        "tracking": lambda: _tracking(runtime),
        "registry": lambda: _registry(config, runtime),
        "dvc": lambda: _dvc(config),
        "disk": lambda: _disk(runtime),
    }


class _CheckFailedError(Exception):
    pass


def _each(examinations: dict[str, Callable[[], str]]) -> Iterator[Finding]:
    for what, examination in examinations.items():
        try:
            yield Finding(what, True, examination())
        except (PipelineError, _CheckFailedError, OSError) as error:
            yield Finding(what, False, str(error))


def _packages() -> str:
    wrong = []
    for name in PACKAGES:
        try:
            have = version(name)
        except PackageNotFoundError:
            have = "not installed"
        if (want := _locked(name)) and want != have:
            wrong.append(f"{name} {have} (requirements.txt: {want})")
    if wrong:
        raise _CheckFailedError(f"{', '.join(wrong)}. Run `make setup`.")
    return "as in requirements.txt"


def _locked(name: str) -> str | None:
    for line in (PROJECT_DIR / "requirements.txt").read_text(encoding="utf-8").splitlines():
        if line.startswith(f"{name}=="):
            return line.partition("==")[2].split()[0]
    return None


def _env_file() -> str:
    file = PROJECT_DIR / ENV_FILE
    if not file.exists():
        return f"from the environment; there is no {ENV_FILE}"
    others = file.stat().st_mode & 0o077
    return f"from the environment and {ENV_FILE}" + (
        f". Other users of this machine can read it: run chmod 600 {ENV_FILE}" if others else ""
    )


def _store(config: PipelineConfig, runtime: RuntimeSettings) -> str:
    bucket = config.storage.bucket
    with translated_errors(runtime, f"storage.bucket: {bucket}"):
        client(runtime).list_objects_v2(Bucket=bucket, MaxKeys=1)
    return f"s3://{bucket} at {runtime.aws_endpoint_url or 'AWS'} answers"


def _permissions(config: PipelineConfig, runtime: RuntimeSettings) -> str:
    s3, bucket = client(runtime), config.storage.bucket
    with translated_errors(runtime, f"writing, reading and deleting in bucket {bucket}"), _probe(s3, bucket) as key:
        s3.get_object(Bucket=bucket, Key=key)["Body"].read()
    return f"list, write, read and delete in {bucket}"


def _locks(config: PipelineConfig, runtime: RuntimeSettings) -> str:
    """Whether the store supports conditional writes: without them two runs could promote at the same time."""
    s3, bucket = client(runtime), config.storage.bucket
    with translated_errors(runtime, f"conditional writes in bucket {bucket}"), _probe(s3, bucket) as key:
        if _put_if_absent(s3, bucket, key):
            raise _CheckFailedError(
                "the store ignores `If-None-Match`, so the registry cannot be locked. Use a store that supports it "
                "(SeaweedFS, MinIO and AWS do)."
            )
    return "the store supports conditional writes"


@contextmanager
def _probe(s3: "S3Client", bucket: str) -> Iterator[str]:
    """Keep an object in the bucket until the block ends; gives its key."""
    key = f".doctor/{uuid4().hex}"
    s3.put_object(Bucket=bucket, Key=key, Body=b"x")
    try:
        yield key
    finally:
        s3.delete_object(Bucket=bucket, Key=key)


def _put_if_absent(s3: "S3Client", bucket: str, key: str) -> bool:
    from botocore.exceptions import ClientError

    try:
        s3.put_object(Bucket=bucket, Key=key, Body=b"y", IfNoneMatch="*")
        return True
    except ClientError as error:
        if error.response["ResponseMetadata"]["HTTPStatusCode"] in (409, 412):
            return False
        raise


def _clock(config: PipelineConfig, runtime: RuntimeSettings) -> str:
    with translated_errors(runtime, "asking the store for the time"):
        answer: Any = client(runtime).list_objects_v2(Bucket=config.storage.bucket, MaxKeys=1)
    there = parsedate_to_datetime(answer["ResponseMetadata"]["HTTPHeaders"]["date"])
    off = abs((datetime.now(UTC) - there).total_seconds())
    if off > CLOCK_TOLERANCE:
        raise _CheckFailedError(
            f"{off:.0f} s apart from the store's clock. Synchronise this machine's clock (NTP): S3 rejects requests "
            "beyond 900 s."
        )
    return f"{off:.0f} s apart from the store's clock"


def _tracking(runtime: RuntimeSettings) -> str:
    there, here = server_version(runtime), version("mlflow")
    if there.split(".")[:1] != here.split(".")[:1]:
        raise _CheckFailedError(f"the server is MLflow {there}, the client {here}. Use the same major version.")
    return f"MLflow {there} at {shown(runtime.mlflow_tracking_uri)} answers" + (
        "" if there == here else f"; client {here}"
    )


def _registry(config: PipelineConfig, runtime: RuntimeSettings) -> str:
    name = config.registry.model_name
    champion = champion_version(runtime, name)
    if champion is None:
        return f"champion of {name}: none yet; run the pipeline"
    versions = promotion_chain(champion_changes(tags_of_model(runtime, name)), champion)[-2:]
    lost = [one for version in reversed(versions) if (one := lost_run(runtime, name, version))]
    said = "; ".join([f"champion of {name}: version {champion}", *map(str, lost)])
    if any(one.in_bin for one in lost):
        raise _CheckFailedError(said)
    return said


def _dvc(config: PipelineConfig) -> str:
    file = PROJECT_DIR / ".dvc" / "config.local"
    remedy = "Run `python -m include.checkout` to work by hand with DVC (the DAG does not need it)."
    if not file.exists():
        return f"this checkout is not set up. {remedy}"
    if config.remote_url not in file.read_text(encoding="utf-8"):
        raise _CheckFailedError(
            f"{file.relative_to(PROJECT_DIR)} has a remote other than {config.remote_url}. {remedy}"
        )
    return (
        f"this checkout pushes to {config.remote_url}. Clean that by `python -m include gc`, never by `dvc gc "
        "--cloud`, which knows no runs and would delete what they need"
    )


def _disk(runtime: RuntimeSettings) -> str:
    configured = runtime.dvc_cache_dir
    folder = PROJECT_DIR / ".dvc" / "cache" if configured in (None, "none") else Path(str(configured))
    there = next(path for path in (folder, *folder.parents) if path.exists())
    if not os.access(there, os.W_OK):
        raise _CheckFailedError(f"{there} is not writable. Give this user write access, or set DVC_CACHE_DIR.")
    free = shutil.disk_usage(there).free
    if free < FREE_BYTES:
        raise _CheckFailedError(f"{free / 1024**2:.0f} MiB free at {there}. Free some space, or set DVC_CACHE_DIR.")
    return f"{free / 1024**3:.0f} GiB free at {there}"
