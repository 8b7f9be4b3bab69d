"""A scheduled run that waits for an object in a real store, its trigger in line as under ``airflow dags test``."""

import threading
import time

import pytest

from include.stages.get_data import load_builtin

BUCKET = "waited-for"


@pytest.fixture(scope="module")
def deployment(make_deployment):
    deployment = make_deployment("waiting")
    deployment.s3.create_bucket(Bucket=BUCKET)
    deployment.edit_config("source: sklearn:iris", f"source: s3://{BUCKET}/{{date:%Y}}/late.csv")
    deployment.edit_config("wait_minutes: 0", "wait_minutes: 2")
    return deployment


def put_when_waited_for(deployment) -> None:
    """Put the object into the bucket after the task has said that it waits for it."""
    end = time.monotonic() + 120
    while not (deployment.log.exists() and b"Waiting for it until" in deployment.log.read_bytes()):
        assert time.monotonic() < end
        time.sleep(0.2)
    table = load_builtin("iris", "target").to_csv(index=False)
    deployment.s3.put_object(Bucket=BUCKET, Key=f"{time.gmtime().tm_year}/late.csv", Body=table)


@pytest.fixture(scope="module")
def runs(deployment):
    """By hand and scheduled; the object appears while the scheduled one waits."""
    late = threading.Thread(target=put_when_waited_for, args=(deployment,))
    late.start()
    steps = [{}, {"run_type": "scheduled"}]
    found = dict(zip(("by_hand", "late"), deployment.dag(*steps), strict=True))
    late.join()
    deployment.edit_config("wait_minutes: 2", "wait_minutes: 0.1")
    (found["never"],) = deployment.dag({"run_type": "scheduled", "conf": {"data.source": f"s3://{BUCKET}/never.csv"}})
    return found


def test_a_run_goes_on_when_the_object_is_there(runs):
    assert runs["late"]["state"] == "success"
    assert runs["late"]["tries"]["wait_for_source"] == 1
    config = runs["late"]["returned"]["resolve_config"]["config"]
    assert config["data"]["source"] == f"s3://{BUCKET}/{time.gmtime().tm_year}/late.csv"


def test_a_run_without_the_object_fails_once_after_the_time_and_says_so(runs, deployment):
    run = runs["never"]

    assert (run["state"], run["tasks"]["wait_for_source"], run["tries"]["wait_for_source"]) == ("failed", "failed", 1)
    assert run["failures"]["wait_for_source"] == (
        f"data.source: no object at s3://{BUCKET}/never.csv. Put it there, or change data.source. The run waited 0.1 "
        "minutes for it (schedule.wait_minutes). When the data are there, clear the task wait_for_source."
    )
    assert run["seconds"] >= 6
    assert deployment.env["AWS_SECRET_ACCESS_KEY"] not in deployment.log.read_text()


def test_a_run_by_hand_does_not_wait(runs):
    run = runs["by_hand"]

    assert (run["tasks"]["wait_for_source"], run["tasks"]["resolve_config"]) == ("success", "failed")
    assert f"no object at s3://{BUCKET}/" in run["failures"]["resolve_config"]
