"""A copy of the project against running parts (PostgreSQL, an S3 store, MLflow), for tests and benchmarks."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
from mlflow import MlflowClient

from tests.conftest import clean_environment

DAG_RUNNER = Path(__file__).with_name("dag_runner.py")


@dataclass
class Site:
    """A copy of the project with a bucket, an experiment, a model and a DVC cache of its own."""

    project: Path
    env: dict[str, str]
    name: str

    @property
    def bucket(self) -> str:
        return f"ml-{self.name}"

    @property
    def model(self) -> str:
        return f"model-{self.name}"

    def run(self, *command: str, **env: str) -> "subprocess.CompletedProcess[str]":
        """Run a command in the project."""
        return subprocess.run(
            command, cwd=self.project, env={**self.env, **env}, capture_output=True, text=True, stdin=subprocess.DEVNULL
        )

    def python(self, *arguments: str, **env: str) -> "subprocess.CompletedProcess[str]":
        """Run this Python in the project."""
        return self.run(sys.executable, *arguments, **env)

    def dvc(self, *arguments: str) -> str:
        """Run dvc in the project, by hand as it were."""
        done = self.run("dvc", *arguments)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def dag(self, *steps: Mapping[str, Any], dag_id: str = "ml_pipeline", **env: str) -> list[dict[str, Any]]:
        """Run a DAG by dag.test(), once per step, in one process: see dag_runner.py."""
        done = self.python(str(DAG_RUNNER), dag_id, json.dumps(steps), **env)
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        return json.loads(done.stdout.splitlines()[-1])

    def edit_config(self, old: str, new: str) -> None:
        """Change a piece of config/config.yaml."""
        file = self.project / "config" / "config.yaml"
        text = file.read_text()
        assert text.count(old) == 1, f"{old!r} stands {text.count(old)} times in config.yaml"
        file.write_text(text.replace(old, new))

    @property
    def s3(self) -> Any:
        return boto3.client(
            "s3",
            endpoint_url=self.env["AWS_ENDPOINT_URL"],
            aws_access_key_id=self.env["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=self.env["AWS_SECRET_ACCESS_KEY"],
            region_name="us-east-1",
        )

    def objects(self, bucket: str | None = None) -> dict[str, str]:
        """ETag of each object in the bucket, by key."""
        pages = self.s3.get_paginator("list_objects_v2").paginate(Bucket=bucket or self.bucket)
        return {item["Key"]: item["ETag"] for page in pages for item in page.get("Contents", [])}

    @property
    def mlflow(self) -> MlflowClient:
        return MlflowClient(self.env["MLFLOW_TRACKING_URI"])

    def mlflow_runs(self) -> list[Any]:
        """All MLflow runs of the site's experiment."""
        experiment = self.mlflow.get_experiment_by_name(f"experiment-{self.name}")
        return list(self.mlflow.search_runs([experiment.experiment_id])) if experiment else []


@contextmanager
def running_parts(project: Path, state: Path) -> Iterator[Site]:
    """Start the parts from a copy of the project, and stop them at the end.

    :param state: an empty folder for what they keep.
    """
    start = {**clean_environment(), "EMBEDDED_DIR": str(state), "PYTHONPATH": str(project)}
    embedded = [sys.executable, "-m", "include.embedded"]
    try:
        done = subprocess.run([*embedded, "env"], cwd=project, env=start, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        show = f"{done.stdout}\nexec {sys.executable} -c 'import os, json; print(json.dumps(dict(os.environ)))'"
        shell = subprocess.run(["sh", "-c", show], env=start, capture_output=True, text=True, check=True)
        yield Site(project, json.loads(shell.stdout), "parts")
    finally:
        subprocess.run([*embedded, "stop"], cwd=project, env=start, check=True, capture_output=True)


def new_site(copy_project: Callable[[], Path], parts: Site, name: str, temporary: Path) -> Site:
    """Set up another copy of the project against the running parts.

    :param temporary: an empty folder for temporary files, so that one can see what a run leaves there.
    """
    project = copy_project()
    env = {key: value.replace(str(parts.project), str(project)) for key, value in parts.env.items()}
    env |= {"DVC_CACHE_DIR": str(project / ".embedded" / "cache"), "TMPDIR": str(temporary)}
    site = Site(project, env, name)
    site.edit_config("bucket: ml-pipeline", f"bucket: {site.bucket}")
    site.edit_config("experiment: iris-logistic-regression", f"experiment: experiment-{name}")
    site.edit_config("model_name: iris-classifier", f"model_name: {site.model}")
    site.edit_config("retry_delay_seconds: 5", "retry_delay_seconds: 1")
    site.edit_config("retries: 3", "retries: 1")
    done = site.python("-m", "include.checkout")
    assert done.returncode == 0, done.stderr
    return site
