"""With the real scheduler and LocalExecutor: a backfill over dated files, runs side by side, tasks that are killed."""

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

from tests.integration.proxy import Proxy, proxy_to
from tests.lab import Site
from tests.scheduler import Airflow, running_airflow, wait_for

# What the project promises, 30 dates and 50 runs, takes two cores half an hour: `make test FULL=1`.
FULL = bool(os.environ.get("FULL"))
START, DAYS = dt.date(2026, 3, 1), 30 if FULL else 6
MISSING = START + dt.timedelta(days=DAYS)  # the day for which there is no file
STAGES = ("get_data", "preprocess", "train_and_evaluate")
AT_ONCE = 50 if FULL else 8


def put_dated_files(site: Site) -> None:
    """A different data set per day: Iris with a little noise."""
    site.s3.create_bucket(Bucket="dated")
    iris = load_iris(as_frame=True).frame
    for day in range(DAYS):
        noisy = iris.copy()
        noisy.iloc[:, :4] += np.random.default_rng(day).normal(0, 0.05, (len(iris), 4)).round(3)
        text = io.StringIO()
        noisy.to_csv(text, index=False)
        site.s3.put_object(Bucket="dated", Key=f"iris/{START + dt.timedelta(days=day)}.csv", Body=text.getvalue())


class Lab(NamedTuple):
    """Airflow, and the proxy before its MLflow."""

    airflow: Airflow
    mlflow: Proxy


@pytest.fixture(scope="module")
def lab(make_site: Callable[[str], Site]) -> Iterator[Lab]:
    site = make_site("scheduler")
    put_dated_files(site)
    with proxy_to(site.env["MLFLOW_TRACKING_URI"]) as mlflow:
        site.env["MLFLOW_TRACKING_URI"] = mlflow.url
        heartbeat = {
            "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "20",
            "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "5",
            "AIRFLOW__WORKERS__MIN_HEARTBEAT_INTERVAL": "2",
        }
        source = "s3://dated/iris/{date:%Y-%m-%d}.csv"
        with running_airflow(
            site, source=source, start=START, max_active_runs=AT_ONCE, parallelism=4, **heartbeat
        ) as airflow:
            yield Lab(airflow, mlflow)


@pytest.fixture(scope="module")
def airflow(lab: Lab) -> Airflow:
    return lab.airflow


def outcomes(airflow: Airflow, run_id: str) -> list[str]:
    return [airflow.returned(run_id, f"pipeline.{stage}")["outcome"] for stage in STAGES]


@pytest.fixture(scope="module")
def backfilled(airflow: Airflow) -> dict[str, Any]:
    """A backfill over dated files and one date without a file, with manual runs beside it; then the same again."""
    manual = ("by_hand_1", "by_hand_2")
    result: dict[str, Any] = {}
    for attempt in ("first", "second"):
        airflow.backfill(START, MISSING, at_once=6)
        for run_id in manual:
            airflow.trigger(f"{run_id}_{attempt}", **{"data.source": "sklearn:iris", "model.C": 3.0})
        states = airflow.wait("backfill__", DAYS + 1, 900)
        by_hand = airflow.wait(f"by_hand_[12]_{attempt}", 2, 120)
        result[attempt] = {
            "states": {run_id[10:20]: state for run_id, state in states.items()},
            "by_hand": set(by_hand.values()),
            "outcomes": {run_id[10:20]: outcomes(airflow, run_id) for run_id in states if str(MISSING) not in run_id},
            "tasks": {run_id[10:20]: airflow.tasks(run_id) for run_id in states},
            "run_ids": {run_id[10:20]: run_id for run_id in states},
            "trained": {
                run_id[10:20]: airflow.returned(run_id, "record_lineage")["mlflow_run"]["run_id"]
                for run_id in states
                if str(MISSING) not in run_id
            },
        }
    return result


def test_all_dates_succeed_side_by_side_and_the_one_without_a_file_fails_alone(backfilled):
    states = dict(backfilled["first"]["states"])

    assert states.pop(str(MISSING)) == "failed"
    assert Counter(states.values()) == {"success": DAYS}
    tasks = [task for tasks in backfilled["first"]["tasks"].values() for task in tasks.values() if task["start_date"]]
    spans = [(task["start_date"], task["end_date"], task["dag_run_id"]) for task in tasks]
    assert any(a[0] < b[0] < a[1] and a[2] != b[2] for a in spans for b in spans)


def test_the_date_without_a_file_names_it_and_is_not_retried(backfilled, airflow):
    task = backfilled["first"]["tasks"][str(MISSING)]["resolve_config"]
    run_id = backfilled["first"]["run_ids"][str(MISSING)]
    log = airflow.ask("GET", f"dags/ml_pipeline/dagRuns/{run_id}/taskInstances/resolve_config/logs/1")

    assert (task["state"], task["try_number"]) == ("failed", 1)
    assert f"iris/{MISSING}.csv" in json.dumps(log)


def test_each_date_has_data_a_training_and_a_lineage_of_its_own(backfilled, airflow):
    first = backfilled["first"]

    assert set(map(tuple, first["outcomes"].values())) == {("executed",) * 3}
    assert len(set(first["trained"].values())) == DAYS
    for day, run_id in first["run_ids"].items():
        if day != str(MISSING):
            manifest = json.loads(
                airflow.site.s3.get_object(
                    Bucket=airflow.site.bucket, Key=airflow.returned(run_id, "record_lineage")["key"]
                )["Body"].read()
            )
            assert manifest["config"]["data"]["source"] == f"s3://dated/iris/{day}.csv"
            assert manifest["airflow"]["run_id"] == run_id
            assert manifest["mlflow_run"]["run_id"] == first["trained"][day]
            (raw,) = [file for file in manifest["files"] if (file["stage"], file["role"]) == ("get_data", "output")]
            landed = airflow.site.s3.head_object(Bucket="dated", Key=f"iris/{day}.csv")["ETag"].strip('"')
            assert manifest["config"]["data"]["version"].strip('"').endswith(landed)
            assert raw["md5"]


def test_a_second_backfill_executes_no_stage(backfilled):
    second = backfilled["second"]

    assert Counter(second["states"].values()) == {"success": DAYS, "failed": 1}
    assert "executed" not in {outcome for found in second["outcomes"].values() for outcome in found}
    assert second["trained"] == backfilled["first"]["trained"]


def test_manual_runs_beside_a_backfill_disturb_nobody(backfilled):
    assert backfilled["first"]["by_hand"] == backfilled["second"]["by_hand"] == {"success"}


def test_runs_that_start_at_once_succeed_and_train_once(backfilled, airflow):
    for number in range(AT_ONCE):
        airflow.trigger(f"at_once_{number}", **{"data.source": "sklearn:wine", "registry.minimum": 0.5})

    states = airflow.wait("at_once_", AT_ONCE, 900)

    assert Counter(states.values()) == {"success": AT_ONCE}
    found = Counter(outcome for run_id in states for outcome in outcomes(airflow, run_id))
    assert found["executed"] == len(STAGES)
    trained = {airflow.returned(run_id, "record_lineage")["mlflow_run"]["run_id"] for run_id in states}
    assert len(trained) == 1


def stage_process(airflow: Airflow) -> psutil.Process | None:
    """The training that runs now, in a workspace of the site."""
    for process in psutil.process_iter(["cmdline"]):
        if "include.stages.train_and_evaluate" in (process.info["cmdline"] or ()):
            try:
                if process.cwd().startswith(airflow.site.env["TMPDIR"]):
                    return process
            except psutil.Error:
                continue
    return None


def task_process(stage: psutil.Process) -> psutil.Process:
    """Airflow's process of the task: the one that started bash."""
    process = stage
    while process.name() != "bash":
        process = process.parent() or process
    return process.parent()


def running_mlflow_runs(airflow: Airflow) -> list[Any]:
    return [run for run in airflow.site.mlflow_runs() if run.info.status == "RUNNING"]


@pytest.fixture
def training(lab: Lab, airflow: Airflow, request: pytest.FixtureRequest) -> Iterator[tuple[str, psutil.Process]]:
    """A run that hangs in the middle of its training: MLflow does not answer the request that logs the metrics."""
    run_id = request.node.name
    lab.mlflow.silent = lambda line: b"/runs/log-batch" in line
    airflow.trigger(run_id, **{"data.source": "sklearn:iris", "model.C": 0.1 + len(run_id)})
    before = len(lab.mlflow.swallowed)
    wait_for(lambda: len(lab.mlflow.swallowed) > before, 120)
    stage = stage_process(airflow)
    assert stage is not None
    yield run_id, stage
    lab.mlflow.silent = lambda line: False


def check_recovery(lab: Lab, run_id: str, seconds: float) -> None:
    """The run succeeds by a retry, nothing half-written counts, no MLflow run stays RUNNING, no workspace is left."""
    airflow, lab.mlflow.silent = lab.airflow, lambda line: False
    assert airflow.wait(f"{run_id}$", 1, seconds) == {run_id: "success"}
    result = airflow.returned(run_id, "pipeline.train_and_evaluate")
    assert result["outcome"] == "executed"
    assert airflow.tasks(run_id)["pipeline.train_and_evaluate"]["try_number"] == 2
    assert running_mlflow_runs(airflow) == []
    mine = [run for run in airflow.site.mlflow_runs() if run.data.tags.get("airflow.run_id") == run_id]
    assert Counter(run.info.status for run in mine)["FINISHED"] == 1
    assert len(mine) == 2


def workspaces(airflow: Airflow) -> list[Path]:
    return list(Path(airflow.site.env["TMPDIR"]).glob("dvc-task-*"))


def test_a_task_that_is_cleared_in_the_middle_of_its_stage(lab, airflow, training):
    run_id, stage = training

    airflow.clear(run_id, "pipeline.train_and_evaluate")

    wait_for(lambda: not stage.is_running(), 30)
    check_recovery(lab, run_id, 180)
    assert workspaces(airflow) == []


def test_a_worker_that_is_lost_in_the_middle_of_a_stage(lab, airflow, training):
    run_id, stage = training
    task = task_process(stage)
    supervisor = task.parent()
    assert supervisor is not None
    assert supervisor.pid != airflow.scheduler.pid
    (left,) = workspaces(airflow)

    for process in (supervisor, task):
        os.kill(process.pid, signal.SIGKILL)

    assert stage.is_running()  # an orphan: nobody told it
    wait_for(lambda: not stage.is_running(), 120)  # the retry's workspace makes an end of it
    check_recovery(lab, run_id, 240)
    assert not left.exists()
    assert not stage.is_running()


def test_a_model_that_is_lost_before_the_push_is_trained_again(airflow):
    """Though each training has an MLflow run of its own, and so another output beside the model."""
    run_id = "lost_before_the_push"
    airflow.trigger(run_id, **{"data.source": "sklearn:iris", "model.C": 0.77})
    assert airflow.wait(run_id, 1, 180) == {run_id: "success"}
    entry = airflow.returned(run_id, "pipeline.train_and_evaluate")["lock"]["dvc.lock"]["train_and_evaluate"]
    oids = {out["path"]: out["md5"] for out in entry["outs"]}
    oid = oids["models/log_reg_model.pkl"]
    key = f"dvc/files/md5/{oid[:2]}/{oid[2:]}"
    (Path(airflow.site.env["DVC_CACHE_DIR"]) / "files" / "md5" / oid[:2] / oid[2:]).unlink()
    airflow.site.s3.delete_object(Bucket=airflow.site.bucket, Key=key)

    airflow.clear(run_id, "dvc_push")

    wait_for(lambda: airflow.tasks(run_id)["dvc_push"]["try_number"] == 2, 60)
    assert airflow.wait(run_id, 1, 180) == {run_id: "success"}
    assert airflow.site.objects()[key] == f'"{oid}"'
    trained = airflow.returned(run_id, "record_lineage")["mlflow_run"]["run_id"]
    assert trained in {run.info.run_id for run in airflow.site.mlflow_runs()}


def test_a_hand_over_that_was_changed_is_refused_and_not_retried(airflow):
    run_id = "changed_hand_over"
    airflow.trigger(run_id, **{"data.source": "sklearn:iris"})
    assert airflow.wait(run_id, 1, 180) == {run_id: "success"}
    result = airflow.returned(run_id, "pipeline.get_data")
    result["lock"]["dvc.lock"]["get_data"]["outs"][0]["md5"] = "0" * 32
    path = f"dags/ml_pipeline/dagRuns/{run_id}/taskInstances/pipeline.get_data/xcomEntries/return_value"
    airflow.ask("PATCH", path, json={"value": result})

    airflow.clear(run_id, "pipeline.preprocess")

    wait_for(lambda: airflow.tasks(run_id)["pipeline.preprocess"]["state"] == "failed", 60)
    task = airflow.tasks(run_id)["pipeline.preprocess"]
    log = airflow.ask("GET", f"dags/ml_pipeline/dagRuns/{run_id}/taskInstances/pipeline.preprocess/logs/2")
    assert task["try_number"] == 2  # the first was the good one
    assert "the lock entry of task pipeline.get_data (its XCom) was cut short or changed" in json.dumps(log)
