"""Airflow's REST API, asked as the web UI does: by tests of the scheduler, of `make serve` and of the containers."""

import re
import time
from collections.abc import Callable
from typing import Any

import requests

ENDED = ("success", "failed")
BUSY = 3  # how much longer anything may take beside other tests
PAUSES = (0.1, 1.0)  # seconds between two questions, first and later: to list runs costs the server time


class AirflowApi:
    """A running Airflow and a user who may do everything.

    :param url: without a slash at the end.
    """

    def __init__(self, url: str, user: str, password: str) -> None:
        self.url = url
        self._login = {"username": user, "password": password}
        self._session = requests.Session()

    def ask(self, method: str, path: str, **arguments: Any) -> Any:
        """A request below ``/api/v2/`` that has to succeed; what it answers."""
        answer = self.request(method, path, **arguments)
        assert answer.ok, f"{method} {path}: HTTP {answer.status_code}: {answer.text}"
        return answer.json() if answer.content else None

    def request(self, method: str, path: str, **arguments: Any) -> requests.Response:
        """A request below ``/api/v2/``, whatever it answers."""
        if "Authorization" not in self._session.headers:
            answer = requests.post(f"{self.url}/auth/token", json=self._login, timeout=60)
            assert answer.ok, answer.text
            self._session.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"
        return self._session.request(method, f"{self.url}/api/v2/{path}", timeout=60, **arguments)

    def trigger(self, run_id: str, dag_id: str = "ml_pipeline", **conf: Any) -> None:
        """Start a run without a logical date, as the form does."""
        body = {"dag_run_id": run_id, "logical_date": None, "conf": conf}
        self.ask("POST", f"dags/{dag_id}/dagRuns", json=body)

    def clear(self, run_id: str, task_id: str) -> None:
        """Have a task run again, and stop it where it runs."""
        body = {"dag_run_id": run_id, "task_ids": [task_id], "dry_run": False, "only_failed": False}
        self.ask("POST", "dags/ml_pipeline/clearTaskInstances", json=body)

    def backfill(self, first: str, last: str, *, at_once: int, conf: dict[str, Any] | None = None) -> None:
        """Start a backfill over these dates, whether they were run before or not, as soon as the one before is over."""

        def over() -> bool:
            found = self.ask("GET", "backfills?dag_id=ml_pipeline")["backfills"]
            return all(one["completed_at"] for one in found)

        wait_for(over, 120)  # the scheduler sees it half a minute after the last run's end
        body = {
            "dag_id": "ml_pipeline",
            "from_date": f"{first}T00:00:00Z",
            "to_date": f"{last}T00:00:00Z",
            "dag_run_conf": conf or {},
            "max_active_runs": at_once,
            "reprocess_behavior": "completed",
        }
        self.ask("POST", "backfills", json=body)

    def runs(self, pattern: str, dag_id: str = "ml_pipeline") -> dict[str, dict[str, Any]]:
        """The newest runs whose id matches from its beginning on."""
        found = self.ask("GET", f"dags/{dag_id}/dagRuns?limit=200&order_by=-id")["dag_runs"]
        return {run["dag_run_id"]: run for run in found if re.match(pattern, run["dag_run_id"])}

    def ended(self, pattern: str, count: int, seconds: float, dag_id: str = "ml_pipeline") -> dict[str, str]:
        """Wait until so many runs have ended; their states by id."""

        def states() -> dict[str, str] | None:
            found = {run_id: run["state"] for run_id, run in self.runs(pattern, dag_id).items()}
            return found if len(found) == count and set(found.values()) <= set(ENDED) else None

        return wait_for(states, seconds, lambda: self.detail(pattern, dag_id))

    def finished(self, run_id: str, seconds: float = 300, dag_id: str = "ml_pipeline") -> dict[str, dict[str, Any]]:
        """Wait until a run has ended with success; its tasks."""
        states = self.ended(re.escape(run_id) + "$", 1, seconds, dag_id)
        assert states == {run_id: "success"}, self.detail(re.escape(run_id) + "$", dag_id)
        return self.tasks(run_id, dag_id)

    def tasks(self, run_id: str, dag_id: str = "ml_pipeline") -> dict[str, dict[str, Any]]:
        """The task instances of a run by task id."""
        found = self.ask("GET", f"dags/{dag_id}/dagRuns/{run_id}/taskInstances")["task_instances"]
        return {task["task_id"]: task for task in found}

    def returned(self, run_id: str, task_id: str, key: str = "return_value") -> Any:
        """An XCom of a task."""
        path = f"dags/ml_pipeline/dagRuns/{run_id}/taskInstances/{task_id}/xcomEntries/{key}?deserialize=true"
        return self.ask("GET", path)["value"]

    def log(self, run_id: str, task_id: str, attempt: int, dag_id: str = "ml_pipeline") -> str:
        """What a try of a task logged, a line per message."""
        path = f"dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/logs/{attempt}?full_content=true"
        content = self.ask("GET", path)["content"]
        return "\n".join(str(line) if isinstance(line, str) else _line(line) for line in content)

    def detail(self, pattern: str, dag_id: str = "ml_pipeline") -> str:
        """For a failed test: the state of each task of the runs, and the end of the logs of those that went wrong."""
        lines = []
        for run_id, run in self.runs(pattern, dag_id).items():
            lines.append(f"{run_id}: {run['state']}")
            for name, task in self.tasks(run_id, dag_id).items():
                lines.append(f"  {name}: {task['state']}, try {task['try_number']}")
                if task["state"] in ("failed", "up_for_retry") and task["try_number"]:
                    lines += self.log(run_id, name, task["try_number"], dag_id).splitlines()[-15:]
        return "\n".join(lines)


def _line(entry: dict[str, Any]) -> str:
    error = "".join(f" {one['exc_type']}: {one['exc_value']}" for one in entry.get("error_detail") or ())
    return f"{entry.get('event', '')}{error}"


def wait_for(condition: Callable[[], Any], seconds: float, detail: Callable[[], str] = lambda: "") -> Any:
    """Ask until there is an answer.

    :param seconds: that it may take on a quiet machine. A hang is meant, so it gets several times as long.
    :param detail: what to say if there is none in time.
    """
    end = time.monotonic() + BUSY * seconds
    pause, longest = PAUSES
    while not (found := condition()):
        assert time.monotonic() < end, f"not within {BUSY * seconds} s: {condition.__qualname__}. {detail()}"
        time.sleep(pause)
        pause = min(1.2 * pause, longest)
    return found


def answers(url: str) -> bool:
    """Whether a server answers a GET with success."""
    try:
        return requests.get(url, timeout=5).ok
    except requests.RequestException:
        return False
