"""A store or MLflow that is silent, or refuses, at any point of a run: bounded, named, retried if it can pass."""

from typing import Any

import pytest

from tests.support.proxy import proxy_to

# Seconds. So that no test waits out the defaults; far above what a request takes on a busy machine.
SHORT = {"STORE_CONNECT_TIMEOUT": "3", "STORE_READ_TIMEOUT": "3", "MLFLOW_HTTP_REQUEST_TIMEOUT": "4"}


@pytest.fixture(scope="module")
def deployment(make_deployment):
    """With a good run, so that only what a test is about has to be made."""
    deployment = make_deployment("outages")
    deployment.env |= {**SHORT, "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"}
    (good,) = deployment.dag({})
    assert good["state"] == "success"
    return deployment


def failed(run: dict[str, Any], task_id: str, tries: int, *said: str) -> None:
    assert run["tasks"][task_id] == "failed"
    assert run["tries"][task_id] == tries
    assert run["durations"][task_id] < 60  # by the project's promise for the defaults, and these are shorter
    for words in said:
        assert words in run["failures"][task_id]


def of_data(line: bytes) -> bool:
    """A request for anything of the DVC remote: the run's code first, then results."""
    return b"/dvc/" in line or b"prefix=dvc" in line


def of_results(line: bytes) -> bool:
    """A request for what stages made; not for the code, nor whether a garbage collection is at work."""
    return of_data(line) and b"/airflow/code" not in line and b"/airflow/gc" not in line


@pytest.mark.parametrize(("silent", "task"), [(of_data, "resolve_config"), (of_results, "pipeline.get_data")])
def test_a_store_that_is_silent_when_the_code_is_packed_or_at_the_look_up_of_a_stage(deployment, silent, task):
    with proxy_to(deployment.env["AWS_ENDPOINT_URL"]) as store:
        store.silent = silent
        (run,) = deployment.dag({}, AWS_ENDPOINT_URL=store.url, DVC_CACHE_DIR="none")

    assert store.swallowed
    failed(run, task, 2, f"the DVC remote s3://{deployment.bucket}/dvc at {store.url} does not answer")


def test_a_store_that_falls_silent_during_the_push_and_the_run_after_it(deployment):
    """Into a place of the bucket where nothing is yet: the stages are known, their results have to be pushed."""
    conf = {"conf": {"storage.prefix": "another"}}
    with proxy_to(deployment.env["AWS_ENDPOINT_URL"]) as store:
        # From the first object on.
        store.silent = lambda line: bool(store.swallowed) or (line.startswith(b"PUT") and b"/another/files/" in line)
        (run,) = deployment.dag(conf, AWS_ENDPOINT_URL=store.url)

    assert store.swallowed
    failed(run, "dvc_push", 2, store.url, "does not answer")
    assert run["tasks"]["pipeline.train_and_evaluate"] == "skipped"  # known

    (run,) = deployment.dag(conf)

    assert run["state"] == "success"
    assert run["returned"]["dvc_push"]["pushed"] == run["returned"]["dvc_push"]["objects"] > 0


@pytest.mark.parametrize(
    ("conf", "silent", "said"),
    [
        ({"model.C": 7}, b"/runs/log-batch", "exited with 69"),
        ({}, b"/runs/get", "does not answer"),
    ],
)
def test_a_silent_mlflow_fails_the_training_or_its_restoring(deployment, conf, silent, said):
    with proxy_to(deployment.env["MLFLOW_TRACKING_URI"]) as mlflow:
        mlflow.silent = lambda line: silent in line
        (run,) = deployment.dag({"conf": conf}, MLFLOW_TRACKING_URI=mlflow.url)

    assert mlflow.swallowed
    failed(run, "pipeline.train_and_evaluate", 2, said, mlflow.url)


def test_a_silent_mlflow_fails_the_record(deployment):
    with proxy_to(deployment.env["MLFLOW_TRACKING_URI"]) as mlflow:
        mlflow.silent = lambda line: b"/artifacts/" in line
        (run,) = deployment.dag({}, MLFLOW_TRACKING_URI=mlflow.url)

    assert mlflow.swallowed
    failed(run, "record_lineage", 2, f"MLflow at {mlflow.url} does not answer")


@pytest.mark.parametrize(("refused", "task"), [(of_data, "resolve_config"), (of_results, "pipeline.get_data")])
def test_credentials_that_stop_working_fail_at_once(deployment, refused, task):
    """A key that may make and probe the bucket, but reads and writes no data."""
    with proxy_to(deployment.env["AWS_ENDPOINT_URL"]) as store:
        store.refused = refused
        (run,) = deployment.dag({}, AWS_ENDPOINT_URL=store.url, DVC_CACHE_DIR="none")

    failed(run, task, 1, "refuses the credentials", store.url)
