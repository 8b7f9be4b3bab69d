"""What a run costs in which every result is known, beside a run of as many tasks that do nothing."""

import os
import tempfile
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import date, timedelta
from pathlib import Path
from typing import Any

from sklearn.datasets import load_iris

from tests.bench.bench import RUNS, START, Bench
from tests.bench.processes import counted
from tests.support.airflow_api import wait_for
from tests.support.deployment import Deployment, new_deployment
from tests.support.scheduler import Airflow, running_airflow

DATES = int(os.environ.get("BENCH_DATES", "6"))
TASKS = 4  # at a time
NO_OP, OURS = "no_op", "ml_pipeline"
# As many tasks as `ml_pipeline` has, one after the other.
DAG_FILE = f"""
from airflow.providers.standard.operators.python import PythonOperator
from airflow.sdk import DAG, chain
from pendulum import datetime

with DAG(
    "{NO_OP}", schedule="0 0 * * *", start_date=datetime({START.year}, {START.month}, {START.day}, tz="UTC"),
    catchup=False, max_active_runs=50, is_paused_upon_creation=True,
):
    chain(*(PythonOperator(task_id=f"t{{number}}", python_callable=print, op_args=["x"]) for number in range(9)))
"""


def cost(bench: Bench, services: Mapping[str, Any]) -> None:
    """CPU seconds per run, by kind of process: cold, repeated, and of tasks that do nothing; in turn."""
    deployment = new_deployment(services, "cost", Path(tempfile.mkdtemp(dir=bench.folder)))
    (deployment.project / "dags" / f"{NO_OP}.py").write_text(DAG_FILE)
    days = [START + timedelta(days=number) for number in range(DATES)]
    put_tables(deployment, days)
    measures: dict[str, dict[str, list[float]]] = {}
    with running_airflow(
        deployment, source="s3://landing/iris/{date:%Y-%m-%d}.csv", start=START, max_active_runs=50, parallelism=TASKS
    ) as airflow:
        wait_for(lambda: airflow.request("GET", f"dags/{NO_OP}").ok, 400)
        airflow.ask("PATCH", "dags/score_batch", json={"is_paused": True})  # a new champion would start it
        airflow.ask("PATCH", f"dags/{NO_OP}", json={"is_paused": False})
        for dag_id in (NO_OP, OURS):  # the run of today
            airflow.ended("scheduled__", 1, 300, dag_id)
        for name, dag_id in [("cold", OURS), *[("repeated", OURS), ("no-op", NO_OP)] * RUNS]:
            print(f"{name}: load of the machine {os.getloadavg()[0]:.1f}", flush=True)
            for kind, value in _one(bench, airflow, dag_id, days).items():
                measures.setdefault(name, defaultdict(list))[kind].append(value / DATES)
    _report(bench, measures)


def put_tables(deployment: Deployment, days: Sequence[date]) -> None:
    """A table of its own for each date."""
    with suppress(deployment.s3.exceptions.BucketAlreadyOwnedByYou):
        deployment.s3.create_bucket(Bucket="landing")
    for number, day in enumerate(days):
        frame = load_iris(as_frame=True).frame
        frame.iloc[0, 0] = 4 + number / 10
        deployment.s3.put_object(Bucket="landing", Key=f"iris/{day}.csv", Body=frame.to_csv(index=False).encode())


def _one(bench: Bench, airflow: Airflow, dag_id: str, days: Sequence[date]) -> dict[str, float]:
    """A backfill: its seconds, those of the CPU in all, and by kind of process."""

    def over() -> bool:
        found = airflow.ask("GET", f"backfills?dag_id={dag_id}")["backfills"]
        return all(one["completed_at"] for one in found)

    wait_for(over, 120)
    body = {
        "dag_id": dag_id,
        "from_date": f"{days[0]}T00:00:00Z",
        "to_date": f"{days[-1]}T00:00:00Z",
        "max_active_runs": TASKS,
        "reprocess_behavior": "completed",
    }
    with counted(bench.folder) as seconds:
        started = time.perf_counter()
        airflow.ask("POST", "backfills", json=body)
        states = airflow.ended("backfill__", len(days), 3600, dag_id)
        wall = time.perf_counter() - started
    assert set(states.values()) == {"success"}, states
    return {"wall": wall, "CPU": sum(seconds.values()), **seconds}


def _report(bench: Bench, measures: Mapping[str, Mapping[str, Sequence[float]]]) -> None:
    for name, kinds in measures.items():
        for kind, values in kinds.items():
            if max(values) >= 0.05:
                bench.report.add(f"{name} run: {kind}", values, "s")
    for kind in ("wall", "CPU"):
        values = [
            ours / theirs for ours, theirs in zip(measures["repeated"][kind], measures["no-op"][kind], strict=True)
        ]
        bench.report.add(f"repeated run / no-op run, {kind}", values, "ratio")
