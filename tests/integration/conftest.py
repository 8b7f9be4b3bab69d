"""Real parts for the integration tests: PostgreSQL, an S3 store and MLflow, started once, stopped at the end."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pytest
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

    def dag(self, *steps: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Run the DAG by dag.test(), once per step, in one process: see dag_runner.py."""
        done = self.python(str(DAG_RUNNER), json.dumps(steps))
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


@pytest.fixture(scope="session")
def parts(copy_project: Callable[[], Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """The running parts, and the copy of the project that they were started from."""
    project = copy_project()
    start = {
        **clean_environment(),
        "EMBEDDED_DIR": str(tmp_path_factory.mktemp("embedded")),
        "PYTHONPATH": str(project),
    }
    embedded = [sys.executable, "-m", "include.embedded"]
    try:
        done = subprocess.run([*embedded, "env"], cwd=project, env=start, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        show = f"{done.stdout}\nexec {sys.executable} -c 'import os, json; print(json.dumps(dict(os.environ)))'"
        shell = subprocess.run(["sh", "-c", show], env=start, capture_output=True, text=True, check=True)
        yield Site(project, json.loads(shell.stdout), "parts")
    finally:
        subprocess.run([*embedded, "stop"], cwd=project, env=start, check=True, capture_output=True)


@pytest.fixture(scope="session")
def make_site(
    copy_project: Callable[[], Path], parts: Site, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Site]:
    """Set up another copy of the project against the running parts."""

    def make(name: str) -> Site:
        project = copy_project()
        env = {key: value.replace(str(parts.project), str(project)) for key, value in parts.env.items()}
        # A temporary folder of its own, so that a test can see what a run leaves there.
        temporary = tmp_path_factory.mktemp("temporary")
        env |= {"DVC_CACHE_DIR": str(project / ".embedded" / "cache"), "TMPDIR": str(temporary)}
        site = Site(project, env, name)
        site.edit_config("bucket: ml-pipeline", f"bucket: {site.bucket}")
        site.edit_config("experiment: iris-logistic-regression", f"experiment: experiment-{name}")
        site.edit_config("model_name: iris-classifier", f"model_name: {site.model}")
        site.edit_config("retry_delay_seconds: 5", "retry_delay_seconds: 1")
        site.edit_config("retries: 2", "retries: 1")
        done = site.python("-m", "include.checkout")
        assert done.returncode == 0, done.stderr
        return site

    return make
