"""A service that goes away in the middle of a run: the task that needs it fails, is tried again, and the run succeeds.

Each test makes sure that the outage really hit its task, whatever the speed of the machine.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import pytest
import requests

from tests.stack.conftest import slow_training
from tests.stack.stack import Stack
from tests.support.airflow_api import wait_for

TRAIN = "pipeline.train_and_evaluate"


@pytest.fixture(autouse=True)
def _hits_no_other_run(stack: Stack, first_run: str) -> None:
    """A run of another test, or the one of the schedule, would be hit as well."""
    stack.idle()


@contextmanager
def no_new_tasks(stack: Stack) -> Iterator[None]:
    """Tasks that run go on; none begins."""

    def slots(number: int) -> None:
        stack.api.ask("PATCH", "pools/default_pool?update_mask=slots", json={"pool": "default_pool", "slots": number})

    slots(0)
    try:
        yield
    finally:
        slots(128)


def wait_for_a_failed_try(stack: Stack, run_id: str, task_id: str) -> None:
    def failed() -> bool:
        states = [one["state"] for one in stack.tries(run_id, task_id)]
        assert states[:1] != ["success"], f"the outage came too late for {task_id}"
        return states[0] in ("failed", "up_for_retry")

    wait_for(failed, 120, lambda: stack.api.detail(run_id))


def ended_by_retry(tries: list[dict[str, Any]]) -> bool:
    states = [one["state"] for one in tries]
    print("tries:", states)
    return len(states) > 1 and "success" not in states[:-1] and states[-1] == "success"


def test_a_push_that_finds_no_minio_is_tried_again_until_it_has_pushed_all(stack):
    run_id = "no-store"
    stack.api.trigger(run_id, model={"C": 0.11}, registry={"model_name": run_id})
    stack.task(run_id, TRAIN, "running")
    with no_new_tasks(stack):
        stack.task(run_id, TRAIN, "success")
        assert stack.api.tasks(run_id)["dvc_push"]["start_date"] is None
        stack.kill("minio")
    wait_for_a_failed_try(stack, run_id, "dvc_push")
    stack.compose("start", "minio")

    stack.api.finished(run_id)
    assert ended_by_retry(stack.tries(run_id, "dvc_push"))
    pushed = stack.api.returned(run_id, "dvc_push")
    assert pushed["pushed"] > 0
    assert pushed["objects"] >= 9


def test_a_training_that_loses_mlflow_is_tried_again_and_leaves_one_finished_run(stack):
    run_id = "no-mlflow"
    stack.api.trigger(run_id, **slow_training(run_id))
    stack.task(run_id, TRAIN, "running")
    lost = wait_for(lambda: running_mlflow_run(stack, run_id), 120, lambda: stack.api.detail(run_id))
    stack.kill("mlflow")
    wait_for_a_failed_try(stack, run_id, TRAIN)
    stack.compose("start", "mlflow")

    stack.api.finished(run_id)
    assert ended_by_retry(stack.tries(run_id, TRAIN))
    kept = stack.api.returned(run_id, "promote_model")["mlflow_run"]["run_id"]
    assert kept != lost
    assert stack.mlflow_run(kept)["info"]["status"] == "FINISHED"
    assert stack.mlflow_run(lost)["info"]["status"] in ("FAILED", "KILLED")


def running_mlflow_run(stack: Stack, run_id: str) -> str | None:
    """The unfinished MLflow run of a run of the DAG."""
    login, api = stack.pipeline_login, f"{stack.tracking}/api/2.0/mlflow"
    experiment = stack.mlflow("experiments/get-by-name", login, experiment_name="iris-logistic-regression").json()
    body = {
        "experiment_ids": [experiment["experiment"]["experiment_id"]],
        "filter": f"attributes.status = 'RUNNING' and tags.`airflow.run_id` = '{run_id}'",
    }
    found = requests.post(f"{api}/runs/search", json=body, auth=login, timeout=60).json().get("runs", [])
    return found[0]["info"]["run_id"] if found else None


def test_a_restart_of_postgresql_in_the_middle_of_a_run_fails_nothing(stack):
    run_id = "database-restarted"
    stack.api.trigger(run_id, **slow_training(run_id))
    stack.task(run_id, TRAIN, "running")
    begun = datetime.now(UTC)
    stack.compose("restart", "postgres")
    ended = datetime.now(UTC)
    wait_for(lambda: answers(lambda: stack.api.runs(run_id)), 90)

    stack.api.finished(run_id)
    (container,) = stack.containers("postgres")
    assert begun < datetime.fromisoformat(container["State"]["StartedAt"]) < ended
    tries = stack.tries(run_id, TRAIN)
    assert datetime.fromisoformat(tries[0]["start_date"]) < begun
    assert ended < datetime.fromisoformat(tries[-1]["end_date"])
    cut = "terminating connection due to administrator command"
    assert cut in stack.compose("logs", "--since", begun.isoformat(), "postgres").stdout


def answers(ask: Callable[[], object]) -> bool:
    try:
        ask()
    except (AssertionError, requests.RequestException):
        return False
    return True
