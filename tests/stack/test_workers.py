"""Several workers by Celery, which share no disk."""

import json

import pytest

from tests.stack.conftest import slow_training
from tests.stack.stack import docker

TRAIN = "pipeline.train_and_evaluate"


@pytest.fixture
def stack(start):
    """All services, with CeleryExecutor."""
    return start(celery=True)


@pytest.fixture
def workers(stack):
    """The two workers by the name of their host."""
    found = {container["Config"]["Hostname"]: container for container in stack.containers("airflow-worker")}
    assert len(found) == 2
    yield found
    docker("start", *(worker["Id"] for worker in found.values()))  # sooner done than by `make up`


def test_workers_share_no_volume_and_do_not_know_the_secrets_of_the_database(stack, workers):
    assert [worker["Mounts"] for worker in workers.values()] == [[], []]
    known = json.dumps([worker["Config"] for worker in workers.values()])
    assert stack.values["AWS_ACCESS_KEY_ID"] in known
    for name in ("AIRFLOW_DB_PASSWORD", "AIRFLOW_FERNET_KEY", "AIRFLOW_JWT_SECRET", "POSTGRES_PASSWORD"):
        assert json.dumps(stack.values[name])[1:-1] not in known


def test_what_a_killed_worker_did_is_carried_on_by_another_which_meanwhile_does_other_runs(stack, workers):
    first, second = workers
    take_tasks(workers[second], False)
    stack.api.trigger("worker-killed", **slow_training("worker-killed"))
    stack.task("worker-killed", TRAIN, "running")
    docker("kill", workers[first]["Id"])
    take_tasks(workers[second], True)
    stack.api.trigger("beside", model={"C": 0.2}, split={"test_size": 0.25}, registry={"model_name": "beside"})

    beside = stack.api.finished("beside")
    assert hosts(beside.values()) == {second}
    tasks = stack.api.finished("worker-killed")
    assert hosts(tasks[f"pipeline.{name}"] for name in ("get_data", "preprocess")) == {first}
    assert tasks[TRAIN]["try_number"] > 1
    assert hosts(tasks[name] for name in (TRAIN, "dvc_push", "promote_model")) == {second}


def hosts(tasks) -> set[str]:
    return {task["hostname"] for task in tasks}


def take_tasks(worker, taking: bool) -> None:
    """Have a worker take tasks of the queue or not; what it has begun goes on."""
    host, order = worker["Config"]["Hostname"], "add_consumer" if taking else "cancel_consumer"
    broker = 'CELERY_BROKER_URL="$AIRFLOW__CELERY__BROKER_URL"'
    command = f"{broker} celery control --destination celery@{host} {order} default"
    said = docker("exec", worker["Id"], "sh", "-c", command)
    assert "ok" in said.lower(), said
