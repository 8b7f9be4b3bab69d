"""With the real scheduler and LocalExecutor: dates and manual runs, many at once, and tasks that are killed."""

import datetime as dt
import io
import json
import os
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import psutil
import pytest
from sklearn.datasets import load_iris

from include.services.embedded.guard import descendants
from tests.support.airflow_api import wait_for
from tests.support.deployment import Deployment
from tests.support.proxy import Proxy, proxy_to
from tests.support.scheduler import Airflow, running_airflow

SLOTS = 4  # tasks that run at the same time
# Several times as many runs as slots, so that they contend for slots, locks, cache and registry.
MANY_RUNS = int(os.environ.get("MANY_RUNS", "16"))
BESIDE = 2 * MANY_RUNS // 5  # manual runs, all of the same values
START, DAYS = dt.date(2026, 3, 1), MANY_RUNS - BESIDE
TABLES = 3  # different ones: the fourth date has the rows of the first, and so on
STAGES = ("get_data", "preprocess", "train_and_evaluate")


def put_dated_files(deployment: Deployment) -> None:
    """Iris with a little noise for each date."""
    deployment.s3.create_bucket(Bucket="many-dates")
    iris = load_iris(as_frame=True).frame
    for day in range(DAYS):
        noisy = iris.copy()
        noisy.iloc[:, :4] += np.random.default_rng(day % TABLES).normal(0, 0.05, (len(iris), 4)).round(3)
        text = io.StringIO()
        noisy.to_csv(text, index=False)
        deployment.s3.put_object(
            Bucket="many-dates", Key=f"iris/{START + dt.timedelta(days=day)}.csv", Body=text.getvalue()
        )


class Deployed(NamedTuple):
    """Airflow, and the proxy before its MLflow."""

    airflow: Airflow
    mlflow: Proxy


@pytest.fixture(scope="module")
def deployed(make_deployment: Callable[..., Deployment]) -> Iterator[Deployed]:
    deployment = make_deployment("scheduler", retries=3)
    put_dated_files(deployment)
    with proxy_to(deployment.env["MLFLOW_TRACKING_URI"]) as mlflow:
        deployment.env["MLFLOW_TRACKING_URI"] = mlflow.url
        heartbeat = {
            "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "20",
            "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "5",
            "AIRFLOW__WORKERS__MIN_HEARTBEAT_INTERVAL": "2",
            "DVC_AIRFLOW_WARM": "off",  # the tests look for the stage's process by its command
        }
        source = "s3://many-dates/iris/{date:%Y-%m-%d}.csv"
        with running_airflow(
            deployment, source=source, start=START, max_active_runs=MANY_RUNS, parallelism=SLOTS, **heartbeat
        ) as airflow:
            yield Deployed(airflow, mlflow)


@pytest.fixture(scope="module")
def airflow(deployed: Deployed) -> Airflow:
    return deployed.airflow


def outcomes(airflow: Airflow, run_id: str) -> list[str]:
    return [airflow.returned(run_id, f"pipeline.{stage}")["outcome"] for stage in STAGES]


def trained(airflow: Airflow, run_id: str) -> str:
    return airflow.returned(run_id, "record_lineage")["mlflow_run"]["run_id"]


@pytest.fixture(scope="module")
def many(airflow: Airflow) -> dict[str, str]:
    """A backfill of `DAYS` dates and `BESIDE` manual runs, all active at the same time: their states."""
    airflow.backfill(str(START), str(START + dt.timedelta(days=DAYS - 1)), at_once=DAYS)
    for number in range(BESIDE):
        airflow.trigger(f"beside_{number}", **{"data.source": "sklearn:wine", "registry.minimum": 0.5})
    return airflow.ended("(backfill__|beside_)", MANY_RUNS, 20 * MANY_RUNS)


def test_many_runs_at_once_all_succeed(many):
    assert MANY_RUNS >= 2 * SLOTS
    assert Counter(many.values()) == {"success": MANY_RUNS}


def test_what_several_runs_need_is_made_once(many, airflow):
    beside = [run_id for run_id in many if run_id.startswith("beside")]
    dates = sorted(set(many) - set(beside))

    executed = Counter(outcome for run_id in beside for outcome in outcomes(airflow, run_id))
    assert executed["executed"] == len(STAGES)
    assert len({trained(airflow, run_id) for run_id in beside}) == 1
    of_dates = [trained(airflow, run_id) for run_id in dates]
    assert len(set(of_dates)) == TABLES
    assert of_dates == [of_dates[day % TABLES] for day in range(DAYS)]


def test_each_date_has_its_own_data_and_lineage(many, airflow):
    for run_id in many:
        if run_id.startswith("backfill__"):
            key = airflow.returned(run_id, "record_lineage")["key"]
            body = airflow.deployment.s3.get_object(Bucket=airflow.deployment.bucket, Key=key)["Body"].read()
            manifest = json.loads(body)
            assert manifest["config"]["data"]["source"] == f"s3://many-dates/iris/{run_id[10:20]}.csv"
            assert manifest["airflow"]["run_id"] == run_id
            landed = airflow.deployment.s3.head_object(Bucket="many-dates", Key=f"iris/{run_id[10:20]}.csv")["ETag"]
            assert manifest["config"]["data"]["version"].strip('"').endswith(landed.strip('"'))


def stage_process(airflow: Airflow) -> psutil.Process | None:
    """The training that runs now, in a workspace of the deployment."""
    for process in psutil.process_iter(["cmdline"]):
        if "include.stages.train_and_evaluate" in (process.info["cmdline"] or ()):
            try:
                if process.cwd().startswith(airflow.deployment.env["TMPDIR"]):
                    return process
            except psutil.Error:
                continue
    return None


def task_process(stage: psutil.Process) -> psutil.Process:
    """Airflow's process of the task: the one that started the session in which the stage's command runs."""
    return parent_of(psutil.Process(os.getsid(stage.pid)))


def parent_of(process: psutil.Process) -> psutil.Process:
    """Not `psutil.Process.parent`: see `descendants`."""
    return psutil.Process(process.ppid())


def running_mlflow_runs(airflow: Airflow) -> list[Any]:
    return [run for run in airflow.deployment.mlflow_runs() if run.info.status == "RUNNING"]


@pytest.fixture
def training(
    deployed: Deployed, airflow: Airflow, request: pytest.FixtureRequest
) -> Iterator[tuple[str, psutil.Process]]:
    """A run that hangs in the middle of its training: MLflow does not answer the request that logs the metrics."""
    run_id = request.node.name
    deployed.mlflow.silent = lambda line: b"/runs/log-batch" in line
    airflow.trigger(run_id, **{"data.source": "sklearn:iris", "model.C": 0.1 + len(run_id)})
    before = len(deployed.mlflow.swallowed)
    wait_for(lambda: len(deployed.mlflow.swallowed) > before, 120)
    stage = stage_process(airflow)
    assert stage is not None
    yield run_id, stage
    deployed.mlflow.silent = lambda line: False


def check_recovery(deployed: Deployed, run_id: str, seconds: float) -> None:
    """The run succeeds by a retry, nothing half-written counts, no MLflow run stays RUNNING, no workspace is left."""
    airflow, deployed.mlflow.silent = deployed.airflow, lambda line: False
    airflow.finished(run_id, seconds)
    result = airflow.returned(run_id, "pipeline.train_and_evaluate")
    assert result["outcome"] == "executed"
    assert airflow.tasks(run_id)["pipeline.train_and_evaluate"]["try_number"] == 2
    assert running_mlflow_runs(airflow) == []
    mine = [run for run in airflow.deployment.mlflow_runs() if run.data.tags.get("airflow.run_id") == run_id]
    assert Counter(run.info.status for run in mine)["FINISHED"] == 1
    assert len(mine) == 2


def workspaces(airflow: Airflow) -> list[Path]:
    return list(Path(airflow.deployment.env["TMPDIR"]).glob("dvc-task-*"))


def test_a_task_that_is_cleared_in_the_middle_of_its_stage(deployed, airflow, training):
    run_id, stage = training

    airflow.clear(run_id, "pipeline.train_and_evaluate")

    wait_for(lambda: not stage.is_running(), 30)
    check_recovery(deployed, run_id, 180)
    assert workspaces(airflow) == []


def test_a_task_of_an_earlier_run_that_is_cleared_after_commits_has_the_code_of_its_run(airflow):
    run_id, project = "before_the_commits", airflow.deployment.project
    airflow.trigger(run_id, **{"data.source": "sklearn:iris", "model.C": 0.55})
    airflow.finished(run_id, 180)
    before = {stage: airflow.returned(run_id, f"pipeline.{stage}") for stage in STAGES}
    commit = airflow.returned(run_id, "resolve_config")["code"]["git_sha"]
    file = project / "include" / "stages" / "train_and_evaluate.py"
    text = file.read_text()
    for number in range(10):
        file.write_text(f"{text}# commit {number}\n")
        git = ("git", "-c", "user.name=test", "-c", "user.email=test@localhost")
        assert airflow.deployment.run(*git, "commit", "--quiet", "--all", "--message", str(number)).returncode == 0

    airflow.clear(run_id, "pipeline.train_and_evaluate")
    wait_for(lambda: airflow.tasks(run_id)["pipeline.train_and_evaluate"]["try_number"] == 2, 60)
    airflow.finished(run_id, 180)
    airflow.trigger("after_the_commits", **{"data.source": "sklearn:iris", "model.C": 0.55})
    airflow.finished("after_the_commits", 180)

    again = airflow.returned(run_id, "pipeline.train_and_evaluate")
    assert again["outcome"] != "executed"
    assert again["lock"] == before["train_and_evaluate"]["lock"]
    key = airflow.returned(run_id, "record_lineage")["key"]
    assert json.loads(airflow.deployment.stored(key))["code"]["git_sha"] == commit
    newer = airflow.returned("after_the_commits", "pipeline.train_and_evaluate")
    assert (newer["outcome"], newer["reason"]) == ("executed", "include/stages/train_and_evaluate.py changed")
    file.write_text(text)


def test_a_worker_that_is_lost_in_the_middle_of_a_stage(deployed, airflow, training):
    run_id, stage = training
    task = task_process(stage)
    supervisor = parent_of(task)
    assert {task, supervisor} <= set(descendants(airflow.scheduler.pid))  # nobody else's is killed
    (left,) = workspaces(airflow)

    for process in (supervisor, task):
        os.kill(process.pid, signal.SIGKILL)

    assert stage.is_running()  # an orphan: nobody told it
    wait_for(lambda: not stage.is_running(), 120)  # the retry's workspace makes an end of it
    check_recovery(deployed, run_id, 240)
    assert not left.exists()
    assert not stage.is_running()


def test_a_model_that_is_lost_before_the_push_is_trained_again(airflow):
    """Though each training has an MLflow run of its own, and so another output beside the model."""
    run_id = "lost_before_the_push"
    airflow.trigger(run_id, **{"data.source": "sklearn:iris", "model.C": 0.77})
    airflow.finished(run_id, 180)
    entry = airflow.returned(run_id, "pipeline.train_and_evaluate")["lock"]["dvc.lock"]["train_and_evaluate"]
    oids = {out["path"]: out["md5"] for out in entry["outs"]}
    oid = oids["models/log_reg_model.pkl"]
    key = f"dvc/files/md5/{oid[:2]}/{oid[2:]}"
    (Path(airflow.deployment.env["DVC_CACHE_DIR"]) / "files" / "md5" / oid[:2] / oid[2:]).unlink()
    airflow.deployment.s3.delete_object(Bucket=airflow.deployment.bucket, Key=key)

    airflow.clear(run_id, "dvc_push")

    wait_for(lambda: airflow.tasks(run_id)["dvc_push"]["try_number"] == 2, 60)
    airflow.finished(run_id, 180)
    assert airflow.deployment.objects()[key] == f'"{oid}"'
    trained = airflow.returned(run_id, "record_lineage")["mlflow_run"]["run_id"]
    assert trained in {run.info.run_id for run in airflow.deployment.mlflow_runs()}
