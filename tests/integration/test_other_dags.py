"""What other tasks and DAGs get from a DVC project's DAG: downstream tasks that run, and Asset events."""

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.support.strangers import Stranger

DAGS = """
import os
from pathlib import Path

from airflow.sdk import DAG, task
from pendulum import datetime

from dvc_airflow import DvcDag, DvcPushOperator, DvcTaskGroup
from dvc_airflow.assets import output_asset

PROJECT = Path(os.environ["STRANGER"])
COMMON = {{"project_dir": PROJECT, "cache_dir": PROJECT.parent / "cache", "remote_url": os.environ["STRANGER_REMOTE"]}}


def fail_once(context, result=None):
    if os.environ.get("FAIL_PUSH") and context["ti"].try_number == 1:
        raise RuntimeError("after the push")


{dags}
"""


@pytest.fixture(scope="module")
def deployment(make_deployment):
    return make_deployment("other")


class Dags:
    """DAGs of a project, run by a deployment."""

    def __init__(self, deployment: Any, folder: Path, files: dict[str, str], dags: str) -> None:
        self._deployment, self.stranger = deployment, Stranger(folder, files)
        (folder / "dags").mkdir()
        (folder / "dags" / "dags.py").write_text(DAGS.format(dags=dags))
        self.env = {
            "AIRFLOW__CORE__DAGS_FOLDER": str(folder / "dags"),
            "STRANGER": str(self.stranger.path),
            "STRANGER_REMOTE": str(self.stranger.remote),
        }

    def run(self, *steps: dict[str, Any], dag_id: str) -> list[dict[str, Any]]:
        return self._deployment.dag(*steps, dag_id=dag_id, **self.env)

    def events(self, dag_id: str) -> list[dict[str, Any]]:
        """All Asset events of the DAG's runs, oldest first."""
        return self._deployment.asset_events(dag_id)


TWO_STAGES = {
    "dvc.yaml": "stages:\n"
    "  one: {cmd: cp a.txt one.txt, deps: [a.txt], outs: [one.txt]}\n"
    "  two: {cmd: mkdir -p two && cp one.txt b.txt two/, deps: [one.txt, b.txt], outs: [two]}\n"
    "  kept: {cmd: cp a.txt kept.txt, deps: [a.txt], outs: [kept.txt: {push: false}]}\n",
    "a.txt": "a\n",
    "b.txt": "b\n",
}


@pytest.mark.parametrize(("on_restored", "state"), [("skip", "skipped"), ("success", "success")])
def test_a_task_after_stages_that_need_not_run_runs_if_they_end_as_success(deployment, tmp_path, on_restored, state):
    dag_id = f"then_{on_restored}"
    dags = Dags(
        deployment, tmp_path, TWO_STAGES,
        f'dag = DvcDag("{dag_id}", schedule=None, push=False, on_restored="{on_restored}", **COMMON)\n'
        "with dag:\n"
        '    dag.stage_tasks["two"] >> task(task_id="then")(lambda: "ran")()\n',
    )  # fmt: skip

    first, second = dags.run({}, {}, dag_id=dag_id)

    assert first["tasks"]["then"] == "success"
    assert second["tasks"]["two"] == second["tasks"]["then"] == state
    assert second["returned"]["two"]["outcome"] == "unchanged"
    assert second["returned"]["two"]["lock"] == first["returned"]["two"]["lock"]
    assert "Stage two: unchanged" in deployment.log.read_text()


EMITTING = """
CONSUMER = {{"schedule": [output_asset("{dag}", "two")], "is_paused_upon_creation": False}}
DvcDag("{dag}", schedule=None, start_date=datetime(2026, 1, 1, tz="Asia/Tokyo"), emit_assets={emit}, **COMMON)
with DAG("after_{dag}", **CONSUMER):
    task(task_id="a")(lambda: None)()
"""


BY_DATE = """
from airflow.sdk import PartitionedAssetTimetable

BY_DATE = PartitionedAssetTimetable(assets=output_asset("dated", "two"))
with DAG("dates_of_dated", schedule=BY_DATE, is_paused_upon_creation=False):
    task(task_id="a")(lambda: None)()
"""


@pytest.fixture(scope="module")
def emitted(deployment, tmp_path_factory):
    """Three runs: the first one, one in which nothing changed, and one after a file has changed."""
    dags = Dags(deployment, tmp_path_factory.mktemp("emitted"), TWO_STAGES, EMITTING.format(dag="emitting", emit=True))
    first, second = dags.run({}, {}, dag_id="emitting")
    dags.stranger.write({"b.txt": "changed\n"})
    (third,) = dags.run({}, dag_id="emitting")
    return {"runs": [first, second, third], "events": dags.events("emitting"), "dags": dags}


def test_there_is_an_event_for_each_pushed_output_that_is_new_and_no_other(emitted):
    first, second, third = emitted["runs"]

    assert {run["state"] for run in emitted["runs"]} == {"success"}
    assert sorted((event["run_id"], event["name"]) for event in emitted["events"]) == sorted(
        [
            (first["run_id"], "emitting/one.txt"),
            (first["run_id"], "emitting/two"),
            (third["run_id"], "emitting/two"),
        ]
    )
    assert second["tasks"]["dvc_push"] == "success"


def test_an_event_says_what_is_new_and_where_it_comes_from(emitted):
    first, _, third = emitted["runs"]
    event = emitted["events"][-1]
    result = third["returned"]["two"]

    assert event["uri"] == "x-dvc://outputs/emitting/two"
    assert event["extra"] == {
        "md5": result["lock"]["dvc.lock"]["two"]["outs"][0]["md5"],
        "path": "two",
        "stage": "two",
        "outcome": "executed",
        "executed_in": third["run_id"],
        "dag_id": "emitting",
        "run_id": third["run_id"],
        "date": event["extra"]["date"],
        "remote": str(emitted["dags"].stranger.remote),
    }
    assert datetime.fromisoformat(event["extra"]["date"]).tzinfo is not None
    assert event["extra"]["md5"].endswith(".dir")
    assert event["extra"]["md5"] != first["returned"]["two"]["lock"]["dvc.lock"]["two"]["outs"][0]["md5"]


def test_a_dag_that_is_scheduled_on_an_output_is_due(emitted):
    assert {tuple(event["queued"]) for event in emitted["events"] if event["name"].endswith("/two")} == {
        ("after_emitting",)
    }


def test_a_push_that_failed_after_its_work_has_its_events_on_the_next_try_and_once(deployment, tmp_path):
    dags = Dags(
        deployment, tmp_path, TWO_STAGES,
        'RETRY = {"retries": 1, "retry_delay": 1}\n'
        'dag = DvcDag("again", schedule=None, emit_assets=True, default_args=RETRY, **COMMON)\n'
        "dag.rendered.push._post_execute_hook = fail_once\n",
    )  # fmt: skip

    (run,) = dags.run({"env": {"FAIL_PUSH": "1"}}, dag_id="again")

    assert run["state"] == "success"
    assert run["tries"]["dvc_push"] == 2
    assert sorted(event["name"] for event in dags.events("again")) == ["again/one.txt", "again/two"]


def test_where_the_project_declares_artifacts_these_are_the_assets(deployment, tmp_path):
    files = {
        **TWO_STAGES,
        "dvc.yaml": TWO_STAGES["dvc.yaml"] + "artifacts:\n"
        "  model: {path: one.txt, type: model, desc: The model}\n"
        "  part: {path: two/b.txt}\n"
        "  source: {path: a.txt}\n",
        "sub/dvc.yaml": "stages: {three: {wdir: .., cmd: cp a.txt sub/three.txt, outs: [sub/three.txt]}}\n"
        "artifacts: {model: {path: three.txt}}\n",
    }
    dags = Dags(deployment, tmp_path, files, 'DvcDag("declared", schedule=None, emit_assets=True, **COMMON)\n')

    dags.run({}, dag_id="declared")
    events = {event["name"].removeprefix("declared/"): event["extra"] for event in dags.events("declared")}

    assert {name: (extra["name"], extra["path"], extra["stage"]) for name, extra in events.items()} == {
        "model": ("model", "one.txt", "one"),
        "part": ("part", "two/b.txt", "two"),
        "sub:model": ("sub:model", "sub/three.txt", "sub/dvc.yaml:three"),
    }
    assert (events["model"]["type"], events["model"]["description"]) == ("model", "The model")
    assert events["part"]["md5"].endswith(".dir")


def test_the_date_is_the_partition_key_where_it_is_asked_for(deployment, tmp_path):
    dags = Dags(deployment, tmp_path, TWO_STAGES, EMITTING.format(dag="dated", emit='"by_date"') + BY_DATE)

    dags.run({}, {}, dag_id="dated")
    dated = [event for event in dags.events("dated") if event["name"] == "dated/two"]
    dags.run({"logical_date": None}, {"logical_date": None}, dag_id="dated")
    *_, undated = events = [event for event in dags.events("dated") if event["name"] == "dated/two"]

    # Each date has its own event, though the results are the same; of the runs without a date only the first has one.
    in_tokyo = [datetime.fromisoformat(event["extra"]["date"]) + timedelta(hours=9) for event in dated]
    assert [event["partition_key"] for event in dated] == [f"{date:%Y-%m-%dT%H:%M:%S}" for date in in_tokyo]
    assert len(dated) == 2
    assert len(events) == 3
    assert undated["partition_key"] is None
    assert "date" not in undated["extra"]
    # As Airflow has it: what has a partition key is for DAGs that are scheduled by partitions, and the other way round.
    assert {tuple(event["queued"]) for event in dated} == {("dates_of_dated",)}
    assert set(undated["queued"]) == {"after_dated", "dates_of_dated"}
