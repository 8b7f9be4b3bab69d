"""A real Airflow with scheduler and LocalExecutor for a deployment."""

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import date
from pathlib import Path

from include.services.embedded.guard import end_descendants
from include.services.embedded.state import free_ports
from tests.support.airflow_api import AirflowApi, answers, wait_for
from tests.support.deployment import Deployment


class Airflow(AirflowApi):
    """The running Airflow of a deployment."""

    def __init__(self, deployment: Deployment, url: str, scheduler: "subprocess.Popen[bytes]") -> None:
        passwords = json.loads(Path(deployment.env["AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE"]).read_text())
        super().__init__(url, "admin", passwords["admin"])
        self.deployment, self.scheduler = deployment, scheduler


@contextmanager
def running_airflow(
    deployment: Deployment,
    *,
    source: str,
    start: date,
    max_active_runs: int,
    parallelism: int,
    triggerer: bool = False,
    **env: str,
) -> Iterator[Airflow]:
    """Run API server, scheduler and DAG processor; the DAG is daily from ``start``, on ``source``, and not paused."""
    deployment.edit_config("source: sklearn:iris", f'source: "{source}"')
    deployment.edit_config("cron: null", 'cron: "0 0 * * *"')
    deployment.edit_config('start_date: "2026-01-01"', f'start_date: "{start}"')
    deployment.edit_config("max_active_runs: 4", f"max_active_runs: {max_active_runs}")
    (port,) = free_ports(1)
    url = f"http://127.0.0.1:{port}"
    deployment.env |= {
        "AIRFLOW__API__PORT": str(port),
        "AIRFLOW__API__BASE_URL": url,
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{url}/execution/",
        "AIRFLOW__CORE__PARALLELISM": str(parallelism),
        "AIRFLOW__CORE__MAX_ACTIVE_TASKS_PER_DAG": "100",
        "AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.1",
        **env,
    }
    processes = []
    try:
        processes.append(_start(deployment, ["api-server"]))
        wait_for(
            lambda: answers(f"{url}/api/v2/monitor/health"), 180
        )  # a task that finds no server fails its first try
        commands = [["scheduler", "--skip-serve-logs"], ["dag-processor"]]
        if triggerer:
            commands.append(["triggerer", "--skip-serve-logs"])
        processes.extend(_start(deployment, command) for command in commands)
        there = Airflow(deployment, url, processes[1])
        wait_for(lambda: there.request("GET", "dags/ml_pipeline").ok, 180)
        there.ask("PATCH", "dags/ml_pipeline", json={"is_paused": False})
        yield there
    finally:
        for process in processes:
            if process.poll() is None:
                end_descendants(process.pid)
                process.terminate()
        for process in processes:
            process.wait(120)


def _start(deployment: Deployment, command: Sequence[str]) -> "subprocess.Popen[bytes]":
    with open(deployment.project / ".embedded" / f"{command[0]}.log", "wb") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "airflow", *command],
            cwd=deployment.project, env=deployment.env, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
        )  # fmt: skip
