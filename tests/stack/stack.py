"""The stack in containers, as its users meet it: make, Compose, and the addresses on loopback."""

import json
import subprocess
import sys
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import boto3
import requests
from botocore.config import Config

from include.services.embedded.state import free_ports
from include.services.stack import env_file
from include.services.stack.env_file import PORTS
from tests.support.airflow_api import AirflowApi, wait_for
from tests.support.copies import clean_environment

ONE_SHOT = {"airflow-init", "minio-init", "mlflow-init", "postgres-init"}
ENDED = {"success", "failed", "skipped", "upstream_failed", "removed"}
CELERY = {"redis", "airflow-worker"}


class NotStartedError(Exception):
    """`make up` failed; the message is what it printed."""


class Stack:
    """A checkout of the project, and the containers that its compose file makes.

    :param name: of the Compose project; what an earlier stack of that name left is removed first.
    """

    def __init__(self, project: Path, images: Mapping[str, str], name: str, **variables: str) -> None:
        remove(name)
        ports = dict(zip(PORTS, free_ports(len(PORTS)), strict=True))
        self.project, self.name, self.image = project, name, f"{name}:latest"
        self.env = {
            **clean_environment(),
            **images,
            **{key: str(port) for key, port in ports.items()},
            "COMPOSE_PROJECT_NAME": name,
            "PIPELINE_IMAGE": self.image,
            "PYTHON": sys.executable,
            **variables,
        }
        self.ports = ports
        self.airflow = f"http://127.0.0.1:{ports['AIRFLOW_PORT']}"
        self.tracking = f"http://127.0.0.1:{ports['MLFLOW_PORT']}"
        self.store = f"http://127.0.0.1:{ports['STORE_PORT']}"
        self.celery: bool | None = None  # how it was started last

    @property
    def values(self) -> dict[str, str]:
        """Of config/.env."""
        return env_file.read(self.project)

    # --- how it is started, and what runs ---

    def make(self, *arguments: str, check: bool = True, **variables: str) -> "subprocess.CompletedProcess[str]":
        return self._run("make", *arguments, check=check, **variables)

    def compose(self, *arguments: str, check: bool = True) -> "subprocess.CompletedProcess[str]":
        return self._run("docker", "compose", "--profile", "celery", *arguments, check=check)

    def _run(self, *command: str, check: bool, **variables: str) -> "subprocess.CompletedProcess[str]":
        done = subprocess.run(
            command, cwd=self.project, env={**self.env, **variables}, capture_output=True, text=True, check=False
        )
        assert not check or done.returncode == 0, f"{' '.join(command)}: {done.stdout[-3000:]}{done.stderr[-3000:]}"
        return done

    def have(self, *, celery: bool) -> None:
        """Have all services running: as they were left, if a test left them well, else by `make up`.

        :raises NotStartedError: they do not come up.
        """
        if self.celery == celery and self.running() >= self.services(celery=celery):
            return
        done = self.make("up", check=False, **({"CELERY": "1"} if celery else {}))
        if done.returncode:
            raise NotStartedError(f"{done.stdout[-1500:]}{done.stderr[-4000:]}")
        self.celery = celery

    def services(self, *, celery: bool) -> set[str]:
        """Those that must run."""
        return self._services - ONE_SHOT - (set() if celery else CELERY)

    @cached_property
    def _services(self) -> set[str]:
        """All that the compose file has. Each test asks which of them must run."""
        return set(self.compose("config", "--services").stdout.split())

    def running(self) -> set[str]:
        """The services of which all containers run."""
        states: dict[str, set[str]] = {}
        for container in self.containers():
            service = container["Config"]["Labels"]["com.docker.compose.service"]
            states.setdefault(service, set()).add(container["State"]["Status"])
        return {service for service, found in states.items() if found == {"running"}}

    def containers(self, *services: str) -> list[dict[str, Any]]:
        """As ``docker inspect`` describes them."""
        ids = self.compose("ps", "--all", "--quiet", *services).stdout.split()
        return inspected(*ids) if ids else []

    def kill(self, service: str) -> None:
        """End a service that has one container, as a power cut would, and at once."""
        (container,) = self.containers(service)
        docker("kill", container["Id"])

    # --- what answers ---

    @cached_property
    def api(self) -> AirflowApi:
        """Airflow's REST API, as its administrator."""
        return AirflowApi(self.airflow, self.values["AIRFLOW_ADMIN_USER"], self.values["AIRFLOW_ADMIN_PASSWORD"])

    def task(self, run_id: str, task_id: str, *states: str, seconds: float = 150) -> dict[str, Any]:
        """Wait until a task is in one of these states."""

        def reached() -> dict[str, Any] | None:
            task = self.api.tasks(run_id).get(task_id, {})
            if task.get("state") in states:
                return task
            assert task.get("state") not in ENDED, f"{task_id} is {task['state']}. {self.api.detail(run_id)}"
            return None

        return wait_for(reached, seconds, lambda: self.api.detail(run_id))

    def tries(self, run_id: str, task_id: str) -> list[dict[str, Any]]:
        """All tries of a task, in their order."""
        found = self.api.ask("GET", f"dags/ml_pipeline/dagRuns/{run_id}/taskInstances/{task_id}/tries")
        return sorted(found["task_instances"], key=lambda one: one["try_number"])

    def idle(self, seconds: float = 300) -> None:
        """Wait until no run of any DAG is under way."""

        def nothing_runs() -> bool:
            found = self.api.ask("GET", "dags/~/dagRuns?limit=1&state=running&state=queued")
            return found["total_entries"] == 0

        wait_for(nothing_runs, seconds)

    def s3(self, access_key: str | None = None, secret_key: str | None = None) -> Any:
        """The store, by default as the pipeline's user."""
        return boto3.client(
            "s3",
            endpoint_url=self.store,
            aws_access_key_id=access_key or self.values["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=secret_key or self.values["AWS_SECRET_ACCESS_KEY"],
            region_name="us-east-1",
            config=Config(s3={"addressing_style": "path"}, retries={"total_max_attempts": 1}),
        )

    def objects(self) -> list[str]:
        """The keys in the pipeline's bucket."""
        pages = self.s3().get_paginator("list_objects_v2").paginate(Bucket="ml-pipeline")
        return sorted(item["Key"] for page in pages for item in page.get("Contents", []))

    def mlflow(self, path: str, login: tuple[str, str] | None = None, **params: str) -> requests.Response:
        return requests.get(f"{self.tracking}/api/2.0/mlflow/{path}", params=params, auth=login, timeout=60)

    @property
    def pipeline_login(self) -> tuple[str, str]:
        return self.values["MLFLOW_TRACKING_USERNAME"], self.values["MLFLOW_TRACKING_PASSWORD"]

    def mlflow_run(self, run_id: str) -> dict[str, Any]:
        """A run of MLflow: its info and data."""
        return self.mlflow("runs/get", self.pipeline_login, run_id=run_id).json()["run"]


def docker(*arguments: str, check: bool = True) -> str:
    done = subprocess.run(["docker", *arguments], capture_output=True, text=True, check=False)
    assert not check or done.returncode == 0, f"docker {' '.join(arguments[:2])}: {done.stderr[-2000:]}"
    return done.stdout


def inspected(*names: str) -> list[dict[str, Any]]:
    """Containers or images, as ``docker inspect`` describes them."""
    return json.loads(docker("inspect", *names))


def remove(name: str) -> None:
    """Remove all that a stack of this name has or left: a test run that was killed cleaned up nothing."""
    mine = f"label=com.docker.compose.project={name}"
    _remove_all("rm", "--force", "--volumes", found=docker("ps", "--all", "--quiet", "--filter", mine))
    _remove_all("network", "rm", found=docker("network", "ls", "--quiet", "--filter", mine))
    _remove_all("volume", "rm", "--force", found=docker("volume", "ls", "--quiet", "--filter", mine))
    docker("image", "rm", "--force", f"{name}:latest", check=False)


def _remove_all(*command: str, found: str) -> None:
    if found.split():
        docker(*command, *found.split())


def engine() -> str | None:
    """Why the containers cannot be tried here; None if they can."""
    try:
        subprocess.run(["docker", "info"], capture_output=True, check=True)
        subprocess.run(["docker", "compose", "version"], capture_output=True, check=True)
    except FileNotFoundError:
        return "there is no docker on this machine"
    except subprocess.CalledProcessError as error:
        return f"no container engine with Compose v2 answers: {error.stderr.decode().strip().splitlines()[-1:]}"
    return None
