"""A stage's Airflow settings in dvc.yaml, with a real scheduler: pools that there are and pools that there are not."""

from collections.abc import Iterator
from datetime import date, datetime
from itertools import pairwise
from pathlib import Path

import pytest

from tests.support.airflow_api import wait_for
from tests.support.scheduler import Airflow, running_airflow
from tests.support.strangers import Stranger, dvc

DVC_YAML = """
stages:
  part:
    foreach: [a, b, c, d]
    do:
      cmd: sleep 1 && echo ${item} > ${item}.txt
      outs: ["${item}.txt"]
      meta: {airflow: {pool: POOL}}
  after: {cmd: cat *.txt > all.out, deps: [a.txt, b.txt, c.txt, d.txt], outs: [all.out]}
"""
DAG_FILE = """
from dvc_airflow import DvcDag

DvcDag("NAME", project_dir="PROJECT", cache_dir="CACHE", schedule=None, is_paused_upon_creation=False)
"""


@pytest.fixture(scope="module")
def airflow(make_deployment, tmp_path_factory) -> Iterator[Airflow]:
    """With two DAGs of strangers: `pooled`, whose pool has one slot, and `unpooled`, whose pool does not exist."""
    deployment = make_deployment("stage-settings")
    for name, pool in (("pooled", "one"), ("unpooled", "nowhere")):
        put_dag(Path(deployment.project) / "dags", tmp_path_factory.mktemp(name), name, pool)
    with running_airflow(
        deployment, source="sklearn:iris", start=date(2026, 1, 1), max_active_runs=1, parallelism=8
    ) as airflow:
        airflow.ask("POST", "pools", json={"name": "one", "slots": 1, "description": "", "include_deferred": False})
        for name in ("pooled", "unpooled"):
            wait_for(lambda name=name: airflow.request("GET", f"dags/{name}").ok, 60)
        yield airflow


def put_dag(dags: Path, folder: Path, name: str, pool: str) -> None:
    stranger = Stranger(folder, {".gitignore": "*.txt\n*.out\n", "dvc.yaml": DVC_YAML.replace("POOL", pool)})
    dvc(stranger.path, "remote", "add", "--default", "store", str(stranger.remote))
    stranger.commit()
    text = DAG_FILE.replace("NAME", name).replace("PROJECT", str(stranger.path)).replace("CACHE", str(stranger.cache))
    (dags / f"{name}.py").write_text(text)


def test_a_pool_of_one_slot_never_sees_two_stages_at_once(airflow):
    airflow.trigger("r", dag_id="pooled")

    tasks = airflow.finished("r", dag_id="pooled")

    parts = [task for name, task in tasks.items() if name.startswith("part.")]
    assert [task["state"] for task in parts] == ["success"] * 4
    assert {task["pool"] for task in parts} == {"one"}
    assert tasks["after"]["pool"] == "default_pool"
    times = sorted(tuple(datetime.fromisoformat(task[when]) for when in ("start_date", "end_date")) for task in parts)
    assert all(ended <= began for (_, ended), (began, _) in pairwise(times))


def test_a_run_whose_pool_does_not_exist_fails_at_once_and_says_how_to_add_it(airflow):
    airflow.trigger("r", dag_id="unpooled")

    assert airflow.ended("r$", 1, 60, dag_id="unpooled") == {"r": "failed"}

    tasks = airflow.tasks("r", dag_id="unpooled")
    assert tasks["prepare_run"]["state"] == "failed"
    assert tasks["after"]["state"] == "upstream_failed"
    assert "Airflow has no pool nowhere" in tasks["prepare_run"]["note"]
    assert "part.a, part.b, part.c, part.d" in tasks["prepare_run"]["note"]
    assert "airflow pools set nowhere" in tasks["part.a"]["note"]

    # What it says is enough.
    airflow.ask("POST", "pools", json={"name": "nowhere", "slots": 2, "description": "", "include_deferred": False})
    body = {"dag_run_id": "r", "dry_run": False, "only_failed": False}
    airflow.ask("POST", "dags/unpooled/clearTaskInstances", json=body)
    tasks = airflow.finished("r", dag_id="unpooled")
    assert {task["state"] for task in tasks.values()} == {"success"}
