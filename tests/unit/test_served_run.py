"""A run in the Airflow of ``make serve``, followed over its REST API."""

from typing import Any

import pytest

from include.errors import ConfigError
from include.services.embedded import served_run
from include.services.embedded.served_run import ServedRun

STAGE = {"outcome": "executed", "reason": "model.C 1.0 -> 2.5"}


class FakeApi:
    """Answers as an Airflow would: one state of the run, with its tasks, per look."""

    url = "http://airflow"

    def __init__(self, *looks: tuple[str, dict[str, tuple[str, int]]], logs: dict[str, list[Any]] | None = None):
        self.looks, self.logs = list(looks), logs or {}

    def ask(self, method: str, path: str, **arguments: Any) -> Any:
        part = path.removeprefix("dags/ml_pipeline/dagRuns/manual__1")
        if part == "":
            return {"state": self.looks[0][0]}
        if part.startswith("/taskInstances?"):
            tasks = self.looks.pop(0)[1]
            return {
                "task_instances": [
                    {"task_id": name, "state": state, "try_number": number, "end_date": f"{index}"}
                    for index, (name, (state, number)) in enumerate(tasks.items())
                ]
            }
        if part.endswith("/xcomEntries/return_value"):
            return {"value": STAGE} if "pipeline." in part else None
        if "/logs/" in part:
            found = self.logs.get(part.split("/")[2])
            return {"content": found} if found else None
        raise AssertionError(path)


@pytest.fixture(autouse=True)
def at_once(monkeypatch):
    monkeypatch.setattr(served_run, "INTERVAL", 0)


def followed(*looks, logs=None):
    return ServedRun(FakeApi(*looks, logs=logs), "ml_pipeline", "manual__1").follow()


def test_each_task_is_shown_once_when_it_has_ended_with_the_outcome_of_its_stage(capsys):
    setup, train = ("success", 1), ("running", 1)
    run = followed(
        ("running", {"setup": setup, "pipeline.train": train}),
        ("running", {"setup": setup, "pipeline.train": train}),
        ("success", {"setup": setup, "pipeline.train": ("success", 1)}),
    )

    assert capsys.readouterr().out == "  ✔ setup\n  ✔ pipeline.train                executed: model.C 1.0 -> 2.5\n"
    assert (run.succeeded, run.run_id, run.failures) == (True, "manual__1", {})


def test_a_failed_try_is_shown_with_its_message_and_is_no_failure_if_the_next_one_succeeds(capsys):
    failed = {"event": "Task failed with exception", "error_detail": [{"exc_value": "the store is away\nmore"}]}
    run = followed(
        ("running", {"push": ("up_for_retry", 1)}),
        ("running", {"push": ("running", 2)}),
        ("success", {"push": ("success", 2)}),
        logs={"push": [{"event": "x"}, failed]},
    )

    assert capsys.readouterr().out == "  ✘ push                          the store is away\n  ✔ push\n"
    assert run.failures == {}


def test_a_run_that_failed_has_the_messages_of_its_tasks_and_the_page_of_its_logs(capsys):
    failed = {"event": "Task failed with exception", "error_detail": [{"exc_value": "no file\nat all"}]}
    run = followed(("failed", {"first": ("failed", 1), "next": ("upstream_failed", 0)}), logs={"first": [failed]})

    assert (run.succeeded, run.failures) == (False, {"first": "no file\nat all"})
    assert run.log == "http://airflow/dags/ml_pipeline/runs/manual__1"
    assert "next" not in capsys.readouterr().out


def test_a_task_that_was_killed_without_a_message_leads_to_its_log():
    run = followed(("failed", {"first": ("failed", 1)}))

    assert run.failures["first"].endswith("see its log: http://airflow/dags/ml_pipeline/runs/manual__1/tasks/first")


def test_a_run_that_waits_for_a_person_says_where(capsys):
    followed(("running", {"approve": ("awaiting_input", 1)}), ("success", {"approve": ("success", 1)}))

    assert "? approve" in (said := capsys.readouterr().out)
    assert "http://airflow/dags/ml_pipeline/runs/manual__1" in said


@pytest.mark.parametrize("dag", [{"is_paused": False, "has_import_errors": True}, None])
def test_a_dag_whose_file_airflow_could_not_import_is_refused_with_the_reason(dag, monkeypatch):
    monkeypatch.setattr(served_run, "PARSE_TIMEOUT", -1)
    trace = "Traceback:\n  File x\ndvc_airflow.project.DvcProjectError: 'dvc.yaml' is invalid.\n"
    error = {"filename": "ml_pipeline.py", "stack_trace": trace, "timestamp": "2026-03-01T10:00:00Z"}

    class Broken:
        url = "http://airflow"

        def ask(self, method, path):
            return {"import_errors": [error]} if path.startswith("importErrors") else dag

    with pytest.raises(ConfigError, match=r"^'dvc.yaml' is invalid\.\nThat is what Airflow read at 2026-03"):
        served_run._require_dag(Broken(), "ml_pipeline")


def test_a_paused_dag_is_refused_with_its_page():
    class Paused:
        url = "http://airflow"

        def ask(self, method, path):
            return {"is_paused": True}

    with pytest.raises(ConfigError, match=r"is paused.*Switch it on at http://airflow/dags/ml_pipeline"):
        served_run._require_dag(Paused(), "ml_pipeline")
