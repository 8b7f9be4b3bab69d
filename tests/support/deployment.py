"""A copy of the project with its own bucket, database and models, against the services that all tests share."""

import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import psycopg2
from mlflow import MlflowClient

from tests.support import airflow_fork, in_airflow
from tests.support.copies import UNUSED_BY_TASKS, copy_of_project

TEMPLATE = "airflow"  # the database that the services migrated, and nobody uses
# For Airflow's own 30 s of a DAG file are not enough on a busy machine: DVC is started for each project that is new.
IMPORT_SECONDS = 240


@dataclass
class Deployment:
    """A copy of the project with a bucket, an Airflow database, an experiment, a model and a DVC cache of its own."""

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
        """Run a DAG by dag.test(), once per step: see `in_airflow.run_dag`."""
        return self._in_airflow(in_airflow.run_dag, dag_id, json.loads(json.dumps(steps)), **env)

    def asset_events(self, dag_id: str) -> list[dict[str, Any]]:
        """The Asset events of a DAG's runs: see `in_airflow.asset_events`."""
        return self._in_airflow(in_airflow.asset_events, dag_id)

    def described(self, dag_id: str = "ml_pipeline", **env: str) -> dict[str, Any]:
        """A DAG as Airflow sees it: see `in_airflow.described`."""
        return self._in_airflow(in_airflow.described, dag_id, **env)

    def pod_of(self, dag_id: str, task_id: str, **env: str) -> dict[str, Any]:
        """The pod of a task with the KubernetesExecutor: see `in_airflow.pod_of`."""
        return self._in_airflow(in_airflow.pod_of, dag_id, task_id, **env)

    def import_errors(self, **env: str) -> dict[str, str]:
        """What Airflow says is wrong with the DAG files, by file."""
        return self._in_airflow(in_airflow.import_errors, **env)

    def airflow(self, *arguments: str) -> str:
        """Run ``airflow ...``: what it prints. An error that it lets through is an `AirflowCallError`."""
        before = self.log.stat().st_size if self.log.exists() else 0
        self._in_airflow(in_airflow.command, arguments)
        return self.log.read_bytes()[before:].decode()

    def cli(self, *arguments: str, code: int = 0, **env: str) -> str:
        """Run ``python -m include``: what it prints to stdout, or to stderr where it has to fail."""
        done = airflow_fork.module("include", *arguments, project=self.project, env={**self.env, **env})
        assert done.returncode == code, done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        return done.stdout if code == 0 else done.stderr

    def cli_json(self, *arguments: str, **env: str) -> Any:
        """Run ``python -m include ... --json``."""
        return json.loads(self.cli(*arguments, "--json", **env))

    def _in_airflow(self, work: Any, *arguments: Any, **env: str) -> Any:
        env = {**self.env, **env}
        folder = env["AIRFLOW__CORE__DAGS_FOLDER"]
        return airflow_fork.call(work, folder, *arguments, project=self.project, env=env, log=self.log)

    @property
    def state(self) -> Path:
        """The state folder of the services."""
        return Path(self.env["AIRFLOW_HOME"]).parent

    @property
    def log(self) -> Path:
        """What Airflow and the tasks printed, of all runs by `dag`."""
        return self.project / ".embedded" / "airflow.log"

    def edit_config(self, old: str, new: str) -> None:
        """Change a piece of config/config.yaml."""
        file = self.project / "config" / "config.yaml"
        text = file.read_text()
        assert text.count(old) == 1, f"{old!r} stands {text.count(old)} times in config.yaml"
        file.write_text(text.replace(old, new))

    def name_all(self) -> None:
        """Have the configuration name this deployment's bucket, experiment and model."""
        self.edit_config("bucket: ml-pipeline", f"bucket: {self.bucket}")
        self.edit_config("experiment: iris-logistic-regression", f"experiment: experiment-{self.name}")
        self.edit_config("model_name: iris-classifier", f"model_name: {self.model}")

    def retry_soon(self, retries: int) -> None:
        """Have tasks retried so often, without waiting long.

        :param retries: 1 where a test waits for the failure; 3, as by default, where a run has to succeed beside others
            on a busy machine.
        """
        self.edit_config("retry_delay_seconds: 5", "retry_delay_seconds: 1")
        if retries != 3:
            self.edit_config("retries: 3", f"retries: {retries}")

    def stored(self, key: str) -> bytes:
        """The content of an object in its bucket."""
        return self.s3.get_object(Bucket=self.bucket, Key=key)["Body"].read()

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
        """All MLflow runs of the deployment's experiment."""
        experiment = self.mlflow.get_experiment_by_name(f"experiment-{self.name}")
        return list(self.mlflow.search_runs([experiment.experiment_id])) if experiment else []


def new_deployment(
    services: Mapping[str, Any],
    name: str,
    folder: Path,
    retries: int = 1,
    temporary: Path | None = None,
    *,
    whole: bool = False,
) -> Deployment:
    """Set up a copy of the project against the running services.

    :param services: of `tests.support.shared_services.shared_services`.
    :param name: no other deployment of the test run has it.
    :param folder: an empty one, for the copy.
    :param retries: see `Deployment.retry_soon`.
    :param temporary: an empty folder for temporary files, so that one can see what a run leaves there; default: in
        ``folder``. With a long path (the socket of a warm server lies there) all stages start cold.
    :param whole: whether the copy has also what no task reads, for a measurement.
    """
    project = copy_of_project(folder / "project", () if whole else UNUSED_BY_TASKS)
    env = {key: value.replace(services["project"], str(project)) for key, value in services["env"].items()}
    database = f"airflow_{name.replace('-', '_')}"
    _create_database(env["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"], database)
    if temporary is None:
        temporary = folder / "tmp"
        temporary.mkdir()
    own = project / ".embedded"
    own.mkdir()
    env |= {
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": env["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"].replace(
            f"/{TEMPLATE}?", f"/{database}?"
        ),
        "AIRFLOW__CORE__DAGBAG_IMPORT_TIMEOUT": str(IMPORT_SECONDS),
        "AIRFLOW__LOGGING__BASE_LOG_FOLDER": str(own / "airflow-logs"),
        "DVC_CACHE_DIR": str(own / "cache"),
        "TMPDIR": str(temporary),
    }
    deployment = Deployment(project, env, name)
    deployment.name_all()
    deployment.retry_soon(retries)
    done = deployment.python("-m", "include.checkout")
    assert done.returncode == 0, done.stderr
    return deployment


def _create_database(address: str, name: str) -> None:
    """A copy of the migrated template: a tenth of a second, where a migration takes ten."""
    connection = psycopg2.connect(
        address.replace("postgresql+psycopg2", "postgresql").replace(f"/{TEMPLATE}?", "/postgres?")
    )
    try:
        connection.autocommit = True
        connection.cursor().execute(f'CREATE DATABASE "{name}" TEMPLATE "{TEMPLATE}"')
    finally:
        connection.close()
