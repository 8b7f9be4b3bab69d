"""Runs of ``airflow dags test`` that were killed, in a database of Airflow's own."""

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]

SCRIPT = """
import json
import airflow.models
from airflow import settings
from airflow.models.base import Base
from airflow.models.dagrun import DagRun
from airflow.models.taskinstance import TaskInstance
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.utils.session import create_session
from airflow.utils.types import DagRunTriggeredByType, DagRunType
from ml_operators.abandoned_runs import fail_abandoned_runs

airflow.models.import_all_models()
Base.metadata.create_all(settings.engine)
with create_session() as session:
    for name, how, state in (
        ("killed", "TEST", "running"), ("waiting", "TEST", "queued"), ("done", "TEST", "success"),
        ("scheduled", "TIMETABLE", "running"),
    ):
        session.add(DagRun(dag_id="dag", run_id=name, run_type=DagRunType.MANUAL, state=state,
                           triggered_by=DagRunTriggeredByType[how]))
        for task, task_state in (("first", "success"), ("second", "running"), ("third", None)):
            ti = TaskInstance(EmptyOperator(task_id=task), run_id=name, dag_version_id=None)
            ti.dag_id, ti.state = "dag", task_state
            session.add(ti)
failed = fail_abandoned_runs()
with create_session() as session:
    runs = {run.run_id: run.state for run in session.query(DagRun)}
    tasks = {f"{ti.run_id}.{ti.task_id}": ti.state for ti in session.query(TaskInstance)}
print(json.dumps([failed, runs, tasks]))
"""


def test_the_killed_runs_fail_with_their_unfinished_tasks_and_no_others(tmp_path):
    env = {
        "AIRFLOW_HOME": str(tmp_path), "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{tmp_path}/airflow.db",
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False", "PATH": os.environ["PATH"], "PYTHONPATH": f"{ROOT}:{ROOT}/plugins",
    }  # fmt: skip
    done = subprocess.run([sys.executable, "-c", SCRIPT], env=env, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    failed, runs, tasks = json.loads(done.stdout.splitlines()[-1])

    assert sorted(failed) == ["killed", "waiting"]
    assert runs == {"killed": "failed", "waiting": "failed", "done": "success", "scheduled": "running"}
    assert {name for name, state in tasks.items() if state == "failed"} == {
        "killed.second", "killed.third", "waiting.second", "waiting.third",
    }  # fmt: skip
    assert tasks["scheduled.third"] is None
