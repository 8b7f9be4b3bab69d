"""A real Airflow with scheduler and LocalExecutor for a site, asked by its REST API as a user would."""

import json
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Any

import psutil
import requests

from include.embedded.guard import end_descendants
from include.embedded.state import free_ports
from tests.lab import Site


class Airflow:
    """A running Airflow, asked by its REST API as a user would."""

    def __init__(self, site: Site, url: str, scheduler: "subprocess.Popen[bytes]") -> None:
        self.site, self.url, self.scheduler = site, url, scheduler
        passwords = Path(site.env["AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE"])
        login = {"username": "admin", "password": json.loads(passwords.read_text())["admin"]}
        token = requests.post(f"{url}/auth/token", json=login, timeout=30).json()["access_token"]
        self.session = requests.Session()
        self.session.headers["Authorization"] = f"Bearer {token}"

    def ask(self, method: str, path: str, **arguments: Any) -> Any:
        answer = self.session.request(method, f"{self.url}/api/v2/{path}", timeout=30, **arguments)
        assert answer.ok, answer.text
        return answer.json() if answer.content else None

    def trigger(self, run_id: str, **conf: Any) -> None:
        self.ask("POST", "dags/ml_pipeline/dagRuns", json={"dag_run_id": run_id, "logical_date": None, "conf": conf})

    def clear(self, run_id: str, task_id: str) -> None:
        """Have a task run again, and stop it where it runs."""
        body = {"dag_run_id": run_id, "task_ids": [task_id], "dry_run": False, "only_failed": False}
        self.ask("POST", "dags/ml_pipeline/clearTaskInstances", json=body)

    def runs(self, pattern: str) -> dict[str, dict[str, Any]]:
        found = self.ask("GET", "dags/ml_pipeline/dagRuns?limit=200&order_by=-id")["dag_runs"]
        return {run["dag_run_id"]: run for run in found if re.match(pattern, run["dag_run_id"])}

    def wait(self, pattern: str, count: int, seconds: float) -> dict[str, str]:
        """Wait until so many runs have ended; their states by id."""

        def ended() -> dict[str, str] | None:
            states = {run_id: run["state"] for run_id, run in self.runs(pattern).items()}
            done = len(states) == count and not {"queued", "running"} & set(states.values())
            return states if done else None

        return wait_for(ended, seconds)

    def tasks(self, run_id: str) -> dict[str, dict[str, Any]]:
        found = self.ask("GET", f"dags/ml_pipeline/dagRuns/{run_id}/taskInstances")["task_instances"]
        return {task["task_id"]: task for task in found}

    def returned(self, run_id: str, task_id: str, key: str = "return_value") -> Any:
        path = f"dags/ml_pipeline/dagRuns/{run_id}/taskInstances/{task_id}/xcomEntries/{key}?deserialize=true"
        return self.ask("GET", path)["value"]

    def backfill(self, first: date, last: date, *, at_once: int) -> None:
        """Start a backfill over these dates, whether they were run before or not, as soon as the one before is over."""

        def over() -> bool:
            found = self.ask("GET", "backfills?dag_id=ml_pipeline")["backfills"]
            return all(one["completed_at"] for one in found)

        wait_for(over, 90)  # the scheduler sees it half a minute after the last run's end
        answer = self.site.run(
            *("airflow", "backfill", "create", "--dag-id", "ml_pipeline", "--reprocess-behavior", "completed"),
            *("--from-date", str(first), "--to-date", str(last), "--max-active-runs", str(at_once)),
        )
        assert answer.returncode == 0, answer.stderr


def wait_for(condition: Callable[[], Any], seconds: float) -> Any:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := condition():
            return found
        time.sleep(0.3)
    raise AssertionError(f"not within {seconds} s: {condition.__qualname__}")


def answers(url: str, session: requests.Session | None = None) -> bool:
    try:
        return (session or requests).get(url, timeout=5).ok
    except requests.RequestException:
        return False


@contextmanager
def running_airflow(
    site: Site, *, source: str, start: date, max_active_runs: int, parallelism: int, **env: str
) -> Iterator[Airflow]:
    """Run API server, scheduler and DAG processor; the DAG is daily from ``start``, on ``source``, and not paused."""
    site.edit_config("source: sklearn:iris", f'source: "{source}"')
    site.edit_config("cron: null", 'cron: "0 0 * * *"')
    site.edit_config('start_date: "2026-01-01"', f'start_date: "{start}"')
    site.edit_config("max_active_runs: 4", f"max_active_runs: {max_active_runs}")
    (port,) = free_ports(1)
    url = f"http://127.0.0.1:{port}"
    site.env |= {
        "AIRFLOW__API__PORT": str(port),
        "AIRFLOW__API__BASE_URL": url,
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{url}/execution/",
        "AIRFLOW__CORE__PARALLELISM": str(parallelism),
        "AIRFLOW__CORE__MAX_ACTIVE_TASKS_PER_DAG": "100",
        "AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.1",
        **env,
    }
    logs = site.project / ".embedded" / "airflow-logs"
    logs.mkdir(parents=True, exist_ok=True)
    processes = []
    try:
        for command in (["api-server"], ["scheduler", "--skip-serve-logs"], ["dag-processor"]):
            with open(logs / f"{command[0]}.log", "wb") as log:
                processes.append(
                    subprocess.Popen(
                        [sys.executable, "-m", "airflow", *command],
                        cwd=site.project, env=site.env, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                    )
                )  # fmt: skip
        wait_for(lambda: answers(f"{url}/api/v2/monitor/health"), 120)
        there = Airflow(site, url, processes[1])
        # Of the copy at hand, not of one before: the schedule shows it.
        known = f"{url}/api/v2/dags/ml_pipeline"
        wait_for(lambda: answers(known, there.session) and "0 0 * * *" in there.session.get(known).text, 180)
        there.ask("PATCH", "dags/ml_pipeline", json={"is_paused": False})
        yield there
    finally:
        for process in processes:
            if process.poll() is None:
                end_descendants(psutil.Process(process.pid))
                process.terminate()
        for process in processes:
            process.wait(30)
