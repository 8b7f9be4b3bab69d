"""A DAG run in the Airflow of ``make serve``: triggered, and followed, over its REST API.

``airflow dags test`` beside it would not do: the database is the same, so its scheduler would take the run's tasks.
"""

import json
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

from include.errors import ConfigError, PipelineError, ServiceError
from include.services.embedded.dag_run import (
    DagRun,
    cause_of,
    import_error,
    print_failure,
    print_progress,
    print_success,
)
from include.services.embedded.guard import Interrupted
from include.services.embedded.state import HOST, State
from include.services.embedded.waiting import wait_for_http

PARSE_TIMEOUT = 90  # seconds until the DAG processor of an Airflow that has just started has read the DAG
QUEUED_TOO_LONG = 15  # seconds after which a run that has not begun needs an explanation
INTERVAL = 1.0  # seconds between two looks


class Api:
    """The REST API of an Airflow on this machine."""

    def __init__(self, url: str, password: str) -> None:
        import requests

        self.url, self._password, self._session = url, password, requests.Session()

    def ask(self, method: str, path: str, **arguments: Any) -> Any:
        """What a request below ``/api/v2/`` answers; None if it is not found.

        :raises ConfigError: it is refused, with Airflow's reason.
        :raises ServiceError: Airflow does not answer.
        """
        answer = self._request(method, f"api/v2/{path}", arguments)
        if answer.status_code == 401:  # no token yet, or one that has expired
            self._log_in()
            answer = self._request(method, f"api/v2/{path}", arguments)
        if answer.status_code == 404:
            return None
        if answer.status_code >= 500:
            raise ServiceError(f"Airflow at {self.url} failed (HTTP {answer.status_code}); see its log, serve.log.")
        if not answer.ok:
            raise ConfigError(f"Airflow refuses: {_detail(answer)}")
        return answer.json()

    def _request(self, method: str, path: str, arguments: dict[str, Any]) -> Any:
        import requests

        try:
            return self._session.request(method, f"{self.url}/{path}", timeout=60, **arguments)
        except requests.RequestException:
            raise ServiceError(
                f"Airflow at {self.url} does not answer. If `make serve` has ended, start it again: the run goes on."
            ) from None

    def _log_in(self) -> None:
        answer = self._request("POST", "auth/token", {"json": {"username": "admin", "password": self._password}})
        if not answer.ok:
            raise ServiceError(f"Airflow at {self.url} refuses the password of its admin. Restart `make serve`.")
        self._session.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"


def run_dag(dag_id: str, conf: str | None, state: State, addresses: Mapping[str, Any]) -> DagRun:
    """Run the DAG once in the Airflow that runs already, and print its progress.

    :raises ConfigError: Airflow refuses the run.
    :raises ServiceError: Airflow does not answer, or does not any more.
    """
    url = f"http://{HOST}:{addresses['airflow_port']}"
    wait_for_http("Airflow", f"{url}/api/v2/monitor/health", state.log("serve"))
    api = Api(url, json.loads(state.passwords_file().read_text())["admin"])
    _require_dag(api, dag_id)
    try:
        run_id = str(_trigger(api, dag_id, conf))
    except ConfigError as error:
        raise ConfigError(f"CONF: {error}") from None
    run = ServedRun(api, dag_id, run_id)
    try:
        return run.follow()
    except Interrupted:
        with suppress(PipelineError):
            api.ask("PATCH", run.path, json={"state": "failed"})
            print(f"set run {run_id} to failed", flush=True)
        raise


def _require_dag(api: Api, dag_id: str) -> None:
    end = time.monotonic() + PARSE_TIMEOUT
    while (dag := api.ask("GET", f"dags/{dag_id}")) is None:
        if time.monotonic() > end:
            _refuse_import_error(api, dag_id)
            raise ServiceError(f"the Airflow at {api.url} does not have the DAG {dag_id}: its front page says why.")
        time.sleep(INTERVAL)
    if dag.get("has_import_errors"):
        _refuse_import_error(api, dag_id)
    if dag["is_paused"]:
        raise ConfigError(
            f"the DAG {dag_id} is paused, so the run would not start. Switch it on at {api.url}/dags/{dag_id}"
        )


def _refuse_import_error(api: Api, dag_id: str) -> None:
    """:raises ConfigError: the DAG processor could not import the DAG's file when it read it last."""
    for error in (api.ask("GET", "importErrors?limit=100") or {}).get("import_errors", ()):
        if Path(error["filename"]).name == f"{dag_id}.py":
            reason = import_error(dag_id, error["stack_trace"]).rstrip()
            raise ConfigError(
                f"{reason}\nThat is what Airflow read at {error['timestamp']}. Once it is fixed, give Airflow half a "
                "minute to read it again."
            )


def _trigger(api: Api, dag_id: str, conf: str | None) -> Any:
    body = {"logical_date": None, "conf": json.loads(conf) if conf else {}}
    return api.ask("POST", f"dags/{dag_id}/dagRuns", json=body)["dag_run_id"]


class ServedRun:
    """A run that Airflow's scheduler works on, and what has been printed of it."""

    def __init__(self, api: Api, dag_id: str, run_id: str) -> None:
        self.path = f"dags/{dag_id}/dagRuns/{quote(run_id, safe='')}"
        self.page = f"{api.url}/dags/{dag_id}/runs/{quote(run_id, safe='')}"
        self._api = api
        self._run = DagRun(log=self.page, run_id=run_id)
        self._shown: set[tuple[str, int, str]] = set()  # task, try, state

    def follow(self) -> DagRun:
        """Wait until the run has ended; print a line for each task, as soon as it has."""
        begun, said = time.monotonic(), False
        while True:
            state = self._api.ask("GET", self.path)
            if state is None:
                raise PipelineError(f"run {self._run.run_id} was deleted in Airflow.")
            self._show_tasks()  # after the question: when the run has ended, so have all of its tasks
            if state["state"] in ("success", "failed"):
                self._run.succeeded = state["state"] == "success"
                return self._run
            if state["state"] == "queued" and not said and time.monotonic() - begun > QUEUED_TOO_LONG:
                print_progress("…", "the run is queued", f"other runs come first; {self._api.url} shows them")
                said = True
            time.sleep(INTERVAL)

    def _show_tasks(self) -> None:
        show: dict[str, Callable[[str, int], None]] = {
            "success": self._show_success,
            "skipped": self._show_success,
            "failed": self._show_failure,
            "up_for_retry": self._show_failure,
            "awaiting_input": self._show_question,
        }
        answer = self._api.ask("GET", f"{self.path}/taskInstances?limit=1000")
        for task in sorted(answer["task_instances"] if answer else (), key=lambda task: str(task["end_date"])):
            seen = (task["task_id"], task["try_number"], task["state"])
            if task["state"] in show and seen not in self._shown:
                self._shown.add(seen)
                show[task["state"]](task["task_id"], task["try_number"])

    def _show_success(self, task: str, number: int) -> None:
        self._run.failures.pop(task, None)
        xcom = self._api.ask("GET", f"{self.path}/taskInstances/{task}/xcomEntries/return_value")
        returned = xcom["value"] if xcom else None
        if isinstance(returned, dict) and {"outcome", "reason"} <= returned.keys():
            self._run.outcomes[task] = (returned["outcome"], returned["reason"])
        print_success(task, *self._run.outcomes.get(task, ("executed", "")))

    def _show_failure(self, task: str, number: int) -> None:
        self._run.failures[task] = self._cause(task, number)
        print_failure(task, self._run.failures[task])

    def _show_question(self, task: str, number: int) -> None:
        print_progress("?", task, f"waits for a person's answer: {self.page}")

    def _cause(self, task: str, number: int) -> str:
        """Why a try of a task failed, from its log."""
        answer = self._api.ask("GET", f"{self.path}/taskInstances/{task}/logs/{number}?full_content=true")
        for event in answer["content"] if answer else ():
            if isinstance(event, dict) and str(event["event"]).startswith("Task failed with exception"):
                return cause_of(event, "error_detail")
        return f"ended without a message; see its log: {self.page}/tasks/{task}"


def _detail(answer: Any) -> str:
    """The reason of a refusal, in one line."""
    try:
        detail = answer.json()["detail"]
    except (ValueError, KeyError, TypeError):
        detail = answer.text
    return (str(detail).strip().splitlines() or [f"HTTP {answer.status_code}"])[0]
