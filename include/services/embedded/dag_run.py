"""``airflow dags test ml_pipeline`` as a child process, its log shown as progress."""

import json
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

MARKS = {"executed": "✔", "restored": "↺", "unchanged": "=", "failed": "✘"}


@dataclass
class DagRun:
    """What the log said of the run: by task, why it failed, and outcome and reason of a stage."""

    run_id: str | None = None
    succeeded: bool = False
    failures: dict[str, str] = field(default_factory=dict)
    outcomes: dict[str, tuple[str, str]] = field(default_factory=dict)


def run_dag(dag_id: str, conf: str | None, environment: dict[str, str], log: Path) -> DagRun:
    """Run the DAG once, in the foreground; the whole log goes to a file, the essence to stdout."""
    command = ["airflow", "dags", "test", dag_id, *(["--conf", conf] if conf else [])]
    environment = {**environment, "AIRFLOW__LOGGING__JSON_LOGS": "True", "PYTHONWARNINGS": "ignore"}
    process = subprocess.Popen(
        command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    run = DagRun()
    with open(log, "w", encoding="utf-8") as whole:
        task = ""
        for event in _events(process, whole):
            task = _note(run, event, task)
    run.succeeded = process.wait() == 0
    return run


def _events(process: "subprocess.Popen[str]", whole: IO[str]) -> Iterator[dict[str, Any]]:
    for line in process.stdout or ():
        whole.write(line)
        try:
            event = json.loads(line)
        except ValueError:
            continue
        if isinstance(event, dict) and "event" in event:
            yield event


def _note(run: DagRun, event: dict[str, Any], task: str) -> str:
    """Update ``run`` and print what a person wants to see; return the task that is running now."""
    text = str(event["event"])
    if match := re.match(r"\[DAG TEST\] starting task_id=(\S+)", text):
        task = match[1]
        run.failures.pop(task, None)
    elif match := re.match(r"Stage (\S+): (\w+) \((.*)\)$", text, re.DOTALL):
        run.outcomes[task] = (match[2], match[3])
    elif text.startswith("Task failed with exception"):
        run.failures[task] = _cause(event)
        _print_progress(MARKS["failed"], task, brief(run.failures[task]))
    elif text.startswith("[DAG TEST] end task") and task not in run.failures:
        outcome, reason = run.outcomes.get(task, ("executed", ""))
        _print_progress(MARKS.get(outcome, " "), task, f"{outcome}: {reason}" if reason else "")
    elif match := re.search(r"DagRun Finished:.*\brun_id=([^,]+),", text):
        run.run_id = match[1]
    return task


def brief(cause: str) -> str:
    """The line of a failure that says what is wrong: that of the stage itself where there is one, else the first."""
    lines = cause.splitlines() or [""]
    return next((line for line in reversed(lines) if line.startswith("error: ")), lines[0]).removeprefix("error: ")


def _cause(event: dict[str, Any]) -> str:
    """The message of the exception that ended a task."""
    exceptions = event.get("exception")
    return str(exceptions[0]["exc_value"]) if isinstance(exceptions, list) and exceptions else str(event["event"])


def _print_progress(mark: str, task: str, text: str) -> None:
    print(f"  {mark} {task:<30}{text}".rstrip(), flush=True)
