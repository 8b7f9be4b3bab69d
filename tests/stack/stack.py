"""The stack in containers, as its users meet it: make, Compose, and the addresses on loopback."""

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import boto3
import requests
from botocore.config import Config

from include.stack import env_file
from tests.conftest import clean_environment


class Stack:
    """A checkout of the project, and the containers that its compose file makes."""

    def __init__(self, project: Path, images: Mapping[str, str], ports: Mapping[str, int], name: str) -> None:
        self.project = project
        self.env = {
            **clean_environment(),
            **images,
            **{key: str(port) for key, port in ports.items()},
            "COMPOSE_PROJECT_NAME": name,
            "PIPELINE_IMAGE": f"{name}:latest",
            "PYTHON": sys.executable,
        }
        self.airflow = f"http://127.0.0.1:{ports['AIRFLOW_PORT']}"
        self.tracking = f"http://127.0.0.1:{ports['MLFLOW_PORT']}"
        self.store = f"http://127.0.0.1:{ports['STORE_PORT']}"
        self._token: str | None = None

    @property
    def values(self) -> dict[str, str]:
        """Of config/.env."""
        return env_file.read(self.project)

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

    def ask(self, method: str, path: str, **arguments: Any) -> Any:
        """Airflow's REST API, as its administrator."""
        if self._token is None:
            login = {"username": self.values["AIRFLOW_ADMIN_USER"], "password": self.values["AIRFLOW_ADMIN_PASSWORD"]}
            answer = requests.post(f"{self.airflow}/auth/token", json=login, timeout=60)
            assert answer.ok, answer.text
            self._token = answer.json()["access_token"]
        headers = {"Authorization": f"Bearer {self._token}"}
        answer = requests.request(method, f"{self.airflow}/api/v2/{path}", headers=headers, timeout=60, **arguments)
        assert answer.ok, answer.text
        return answer.json() if answer.content else None

    def trigger(self, run_id: str, **conf: Any) -> None:
        body = {"dag_run_id": run_id, "logical_date": None, "conf": conf}
        self.ask("POST", "dags/ml_pipeline/dagRuns", json=body)

    def runs(self, pattern: str) -> dict[str, str]:
        """The states of the runs whose id matches."""
        found = self.ask("GET", "dags/ml_pipeline/dagRuns?limit=200&order_by=-id")["dag_runs"]
        return {run["dag_run_id"]: run["state"] for run in found if re.match(pattern, run["dag_run_id"])}

    def tasks(self, run_id: str) -> dict[str, dict[str, Any]]:
        found = self.ask("GET", f"dags/ml_pipeline/dagRuns/{run_id}/taskInstances")["task_instances"]
        return {task["task_id"]: task for task in found}

    def wait_for_task(self, run_id: str, task_id: str, state: str = "running", seconds: float = 150) -> dict[str, Any]:
        def reached() -> dict[str, Any] | None:
            task = self.tasks(run_id).get(task_id, {})
            return task if task.get("state") == state else None

        return wait(reached, seconds, lambda: str({name: task["state"] for name, task in self.tasks(run_id).items()}))

    def finished(self, run_id: str, seconds: float = 240) -> dict[str, dict[str, Any]]:
        """The tasks of a run, when it has ended with success."""

        def ended() -> str | None:
            state = self.runs(re.escape(run_id) + "$").get(run_id)
            return state if state in ("success", "failed") else None

        state = wait(ended, seconds, lambda: self.told(run_id))
        assert state == "success", self.told(run_id)
        return self.tasks(run_id)

    def told(self, run_id: str) -> str:
        """What the tasks of a run came to, and the end of the logs of those that failed."""
        parts = []
        for name, task in self.tasks(run_id).items():
            parts.append(f"{name}: {task['state']}, try {task['try_number']}")
            if task["state"] in ("failed", "up_for_retry") and task["try_number"]:
                parts.append("\n".join(self.log(run_id, name, task["try_number"]).splitlines()[-15:]))
        return "\n".join(parts)

    def log(self, run_id: str, task_id: str, attempt: int) -> str:
        path = f"dags/ml_pipeline/dagRuns/{run_id}/taskInstances/{task_id}/logs/{attempt}"
        return "\n".join(str(line.get("event")) for line in self.ask("GET", path)["content"])

    def returned(self, run_id: str, task_id: str) -> Any:
        path = f"dags/ml_pipeline/dagRuns/{run_id}/taskInstances/{task_id}/xcomEntries/return_value?deserialize=true"
        value = self.ask("GET", path)["value"]
        return json.loads(value) if isinstance(value, str) else value

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

    def mlflow(self, path: str, login: tuple[str, str] | None = None, **params: str) -> requests.Response:
        return requests.get(f"{self.tracking}/api/2.0/mlflow/{path}", params=params, auth=login, timeout=60)

    @property
    def pipeline_login(self) -> tuple[str, str]:
        return self.values["MLFLOW_TRACKING_USERNAME"], self.values["MLFLOW_TRACKING_PASSWORD"]

    def containers(self, service: str = "") -> list[dict[str, Any]]:
        """As ``docker inspect`` describes them."""
        ids = self.compose("ps", "--all", "--quiet", *([service] if service else [])).stdout.split()
        return json.loads(subprocess.run(["docker", "inspect", *ids], capture_output=True, check=True).stdout)


def wait(ask: Callable[[], Any], seconds: float, told: Callable[[], str] = lambda: "") -> Any:
    """Ask until there is an answer."""
    end = time.monotonic() + seconds
    while (answer := ask()) is None:
        assert time.monotonic() < end, f"not within {seconds} s. {told()}"
        time.sleep(0.3)
    return answer


def engine() -> str | None:
    """Why the containers cannot be tried here; None if they can."""
    try:
        subprocess.run(["docker", "info"], capture_output=True, check=True)
        subprocess.run(["docker", "compose", "version"], capture_output=True, check=True, env={**os.environ})
    except FileNotFoundError:
        return "there is no docker on this machine"
    except subprocess.CalledProcessError as error:
        return f"no container engine with Compose v2 answers: {error.stderr.decode().strip().splitlines()[-1:]}"
    return None
