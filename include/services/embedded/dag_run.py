"""A run of a DAG in a child process (`ml_operators.dag_test`), its log shown as progress."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import IO, Any, cast

from include.errors import ConfigError
from include.services.embedded.environment import with_plugins
from include.services.embedded.guard import end_descendants
from include.services.embedded.task_logs import TaskLogs

GRACE = 3  # seconds for a task to leave nothing behind, once its commands have ended
RUN_ID = re.compile(r"\[DAG TEST\] running task <TaskInstance: \S+ (\S+) |DagRun Finished:.*?\brun_id=([^,]+),")
# The end of a traceback with an error that is in words for people. Nothing before it helps them.
OURS = re.compile(r"^(?:include|dvc_airflow)\.[\w.]+: (.*)", re.MULTILINE | re.DOTALL)
MARKS = {"executed": "✔", "restored": "↺", "unchanged": "=", "failed": "✘"}


@dataclass
class DagRun:
    """What is known of a run: by task, why it failed, and outcome and reason of a stage; and where its log is."""

    log: str = ""
    run_id: str | None = None
    succeeded: bool = False
    failures: dict[str, str] = field(default_factory=dict)
    outcomes: dict[str, tuple[str, str]] = field(default_factory=dict)
    last_lines: list[str] = field(default_factory=list)


@contextmanager
def dag_process(dag_id: str, environment: dict[str, str], log: Path) -> "Iterator[DagProcess]":
    """Start what runs the DAG once: it gets ready, and waits. It ends with the block.

    :param log: a file for all that it logs.
    """
    command = [sys.executable, "-m", "ml_operators.dag_test", dag_id]
    environment = {**with_plugins(environment), "AIRFLOW__LOGGING__JSON_LOGS": "True", "PYTHONWARNINGS": "ignore"}
    with subprocess.Popen(
        command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        try:
            yield DagProcess(process, dag_id, TaskLogs(Path(environment["AIRFLOW__LOGGING__BASE_LOG_FOLDER"])), log)
        finally:
            if process.poll() is None:
                _end(process)


def _end(process: "subprocess.Popen[str]") -> None:
    """End it before its run has: first what its tasks have started, so that a training can close its MLflow run.

    Airflow's task runner has SIGTERM end the task's work, but not the process, and leaves it so between tasks too.
    """
    end_descendants(process.pid)
    process.terminate()
    try:
        process.wait(GRACE)
    except subprocess.TimeoutExpired:
        process.kill()


class DagProcess:
    """The process that runs a DAG."""

    def __init__(self, process: "subprocess.Popen[str]", dag_id: str, logs: TaskLogs, log: Path) -> None:
        self._process, self._follower, self._log = process, Follower(dag_id, logs), log
        self._dag_id = dag_id
        self._before: list[str] = []  # lines that it printed before it had the DAG

    def require_dag(self) -> None:
        """Wait until the process has the DAG.

        :raises ConfigError: it cannot have it: `dvc.yaml` is wrong, say.
        """
        for line in self._process.stdout or ():
            self._before.append(line)
            with suppress(ValueError):
                said = json.loads(line)
                if isinstance(said, dict) and "dag" in said:
                    break
        else:  # it has ended: `run` says what it printed
            return
        if not said["dag"]:
            self._log.write_text("".join(self._before), encoding="utf-8")
            raise ConfigError(import_error(self._dag_id, said["reason"]))

    def run(self, conf: str | None) -> DagRun:
        """Run the DAG; the whole log goes to the file, the essence to stdout.

        :param conf: of the run, as JSON.
        """
        run = self._follower.run
        run.log = str(self._log)
        told = json.dumps(json.loads(conf or "null")) + "\n"  # in one line
        with suppress(BrokenPipeError):  # it has ended already: why is in what it printed
            os.write(cast("IO[str]", self._process.stdin).fileno(), told.encode())
        with open(self._log, "w", encoding="utf-8") as whole:
            for event in _events(chain(self._before, self._process.stdout or ()), whole, run):
                self._follower.note(event)
        run.succeeded = self._process.wait() == 0
        return run


def _events(lines: Iterable[str], whole: IO[str], run: DagRun) -> Iterator[dict[str, Any]]:
    """Each line of the log; one that is not JSON, as of ``print``, is an event too."""
    for line in lines:
        whole.write(line)
        try:
            event = json.loads(line)
        except ValueError:
            event = {"event": line.rstrip("\n")}
            run.last_lines = [*run.last_lines[-14:], event["event"]]
        if isinstance(event, dict) and "event" in event:
            yield event


class Follower:
    """Reads the log of ``dag.test()``: updates ``run``, prints what a person wants to see, keeps tasks' logs."""

    def __init__(self, dag_id: str, logs: TaskLogs) -> None:
        self.run = DagRun()
        self._dag_id, self._logs = dag_id, logs
        self._task = ""  # which one is running now

    def note(self, event: dict[str, Any]) -> None:
        """Take the next event."""
        text = str(event["event"])
        if match := re.match(r"\[DAG TEST\] starting task_id=(\S+)", text):
            self._task = match[1]
            self.run.failures.pop(self._task, None)
        elif match := RUN_ID.match(text):
            self.run.run_id = match[1] or match[2]
        elif text.startswith("[DAG TEST] end task"):
            self._end()
        elif self._task:
            self._note_of_task(event, text)

    def _note_of_task(self, event: dict[str, Any], text: str) -> None:
        if self.run.run_id and not str(event.get("logger", "")).startswith("airflow.api_fastapi."):
            self._logs.write(self._dag_id, self.run.run_id, self._task, event)
        if match := re.match(r"Stage (\S+): (\w+) \((.*)\)$", text, re.DOTALL):
            self.run.outcomes[self._task] = (match[2], match[3])
        elif text.startswith("Task failed with exception"):
            self.run.failures[self._task] = cause_of(event, "exception")
            print_failure(self._task, self.run.failures[self._task])

    def _end(self) -> None:
        if self._task in self.run.failures:
            self._logs.next_try(self._task)
        else:
            print_success(self._task, *self.run.outcomes.get(self._task, ("executed", "")))
        self._task = ""


def import_error(dag_id: str, text: str) -> str:
    """Why Airflow could not import the file of a DAG: the message of an error of ours, else all of the traceback."""
    text = text.strip()
    ours = OURS.search(text)
    return ours[1] if ours else f"the file of the DAG {dag_id} cannot be imported:\n{text}"


def brief(cause: str) -> str:
    """The line of a failure that says what is wrong: that of the stage itself where there is one, else the first."""
    lines = cause.splitlines() or [""]
    return next((line for line in reversed(lines) if line.startswith("error: ")), lines[0]).removeprefix("error: ")


def cause_of(event: dict[str, Any], key: str) -> str:
    """The message of the exception that ended a task.

    :param key: the field of the event that has it.
    """
    exceptions = event.get(key)
    return str(exceptions[0]["exc_value"]) if isinstance(exceptions, list) and exceptions else str(event["event"])


def print_success(task: str, outcome: str, reason: str) -> None:
    """A line for a task that has ended well, or was skipped."""
    print_progress(MARKS.get(outcome, " "), task, f"{outcome}: {reason}" if reason else "")


def print_failure(task: str, cause: str) -> None:
    """A line for a try that has failed."""
    print_progress(MARKS["failed"], task, brief(cause))


def print_progress(mark: str, task: str, text: str) -> None:
    """A line of the progress."""
    print(f"  {mark} {task:<30}{text}".rstrip(), flush=True)
