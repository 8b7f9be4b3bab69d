"""What a run leaves in the store and in MLflow, and what the host's command line and the image say about it."""

import json
import subprocess
import sys
from datetime import date, timedelta
from importlib.metadata import version

import pytest
from sklearn.datasets import load_iris

from tests.stack.stack import docker, inspected
from tests.support.copies import clean_environment


def test_the_schedule_starts_a_run_that_ends_with_a_registered_model_and_its_objects_in_the_store(stack, first_run):
    verdict = stack.api.returned(first_run, "promote_model")
    name = "iris-classifier"
    found = stack.mlflow("model-versions/get", stack.pipeline_login, name=name, version=verdict["version"]).json()
    champion = stack.mlflow("registered-models/alias", stack.pipeline_login, name=name, alias="champion")

    assert stack.api.runs("scheduled")[first_run]["run_type"] == "scheduled"
    assert verdict["alias"] == "champion"
    assert found["model_version"]["run_id"] == verdict["mlflow_run"]["run_id"]
    assert found["model_version"]["tags"]
    assert champion.ok, champion.text  # of this run or of a later one
    tasks, run = stack.api.tasks(first_run), stack.api.runs("scheduled")[first_run]
    assert tasks["pipeline.get_data"]["note"].startswith("executed: ")
    assert run["note"].startswith("executed: get_data, preprocess, train_and_evaluate\n")
    assert f"Model {name} version {verdict['version']}: alias champion" in run["note"]
    keys = stack.objects()
    objects = [key for key in keys if key.startswith("dvc/files/md5/")]
    assert len(objects) >= stack.api.returned(first_run, "dvc_push")["objects"] > 0
    assert any(key.startswith("lineage/runs/ml_pipeline/") and key.endswith("/manifest.json") for key in keys)


def test_the_command_line_on_the_host_looks_at_the_stack(stack, first_run):
    def printed(*arguments: str) -> str:
        command = [sys.executable, "-m", "include", *arguments]
        done = subprocess.run(command, cwd=stack.project, env=clean_environment(), capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    assert first_run in printed("runs")
    doctor = printed("doctor")
    assert stack.store in doctor
    assert stack.tracking in doctor


def test_the_code_of_a_run_is_the_commit_that_the_image_was_built_from(stack, first_run):
    sha = subprocess.run(["git", "rev-parse", "HEAD"], cwd=stack.project, capture_output=True, text=True).stdout.strip()
    (image,) = inspected(stack.image)
    key = next(key for key in stack.objects() if key.startswith("lineage/runs/") and key.endswith("/manifest.json"))
    code = json.load(stack.s3().get_object(Bucket="ml-pipeline", Key=key)["Body"])["code"]

    assert image["Config"]["Labels"]["org.opencontainers.image.revision"] == sha
    assert code["git_sha"] == sha


def test_the_image_is_small_and_belongs_to_no_root(stack):
    (image,) = inspected(stack.image)

    assert image["Config"]["User"] == "50000:0"
    assert image["Size"] < 1.7e9  # 0.13e9 of it are the clients that the KubernetesExecutor needs


def test_any_user_id_of_group_0_can_run_the_image_and_none_can_change_the_code(stack):
    script = "airflow version && touch $AIRFLOW_HOME/mine && ! touch /opt/project/dags/ml_pipeline.py 2>&1"
    options = ["--rm", "--no-deps", "-T", "--user", "12345:0"]
    said = stack.compose("run", *options, "airflow-dag-processor", "bash", "-c", script).stdout

    assert version("apache-airflow") in said.splitlines()
    assert "Permission denied" in said


def test_at_rest_the_stack_fits_into_3500_megabytes(stack):
    stack.idle()
    ids = [container["Id"] for container in stack.containers() if container["State"]["Running"]]
    used = [memory(line) for line in docker("stats", "--no-stream", "--format", "{{.MemUsage}}", *ids).splitlines()]
    print(f"at rest: {sum(used) / 1e6:.0f} MB")

    assert len(used) == len(stack.services(celery=False))
    assert min(used) > 1e6
    assert sum(used) < 3.5e9


def memory(usage: str) -> float:
    """Bytes, of a text like ``12.5MiB / 1GiB``."""
    number = usage.partition(" ")[0].rstrip("KMGiB")
    unit = usage.partition(" ")[0].removeprefix(number)
    return float(number) * {"B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}[unit]


@pytest.fixture
def dated(stack):
    """A file of data for each of four dates; those of every other date have the same rows."""
    iris = load_iris(as_frame=True)
    frame = iris.frame.assign(target=iris.target_names[iris.target])
    for number in range(4):
        text = frame.drop(index=range(number % 2)).to_csv(index=False)
        day = date(2026, 3, 1) + timedelta(days=number)
        stack.s3().put_object(Bucket="ml-pipeline", Key=f"landing/{day}.csv", Body=text.encode())
    return "s3://ml-pipeline/landing/{date:%Y-%m-%d}.csv"


def test_a_backfill_of_four_dates_trains_once_for_each_data_set(stack, dated):
    # Three at once: the first and the third need the same model at the same time, and the fourth finds the second's.
    conf = {"data": {"source": dated}, "registry": {"model_name": "backfilled"}}
    stack.api.backfill("2026-03-01", "2026-03-04", at_once=3, conf=conf)
    states = stack.api.ended("backfill", 4, 300)

    assert set(states.values()) == {"success"}, stack.api.detail("backfill")
    trained = [stack.api.returned(run_id, "register_model")["run_id"] for run_id in sorted(states)]
    assert len(set(trained)) == 2  # what several runs need is made once
    assert trained == trained[:2] * 2
