"""Backfills with the real scheduler: beside a loop of dvc repro, and beside tasks that do nothing."""

import os
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import date, timedelta
from pathlib import Path
from typing import Any

from sklearn.datasets import load_iris

from tests.bench.bench import RUNS, START, Bench, edit
from tests.bench.processes import counted
from tests.bench.report import ratios
from tests.support.airflow_api import wait_for
from tests.support.deployment import Deployment, new_deployment
from tests.support.scheduler import Airflow, running_airflow

DAYS = int(os.environ.get("BENCH_DAYS", "10"))  # of a backfill
LOOPED = 3  # dates of each backfill that a loop of dvc repro has too; what one takes is the same for all
TASKS = 4  # at a time: two per core. With more runs at a time Airflow's scheduler takes longer for each of its rounds
OURS, NO_OP = "ml_pipeline", "no_op"
LOOPS = ("cold", "repeated")
BACKFILLS = {"cold": OURS, "repeated": OURS, "no-op": NO_OP}
LEAST = 0.05  # seconds of the CPU per run that are worth a line
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


def backfill(bench: Bench, services: Mapping[str, Any]) -> None:
    """Backfills, cold, repeated, and of tasks that do nothing, in turn; wall and CPU seconds per run.

    Each round has dates of its own. The loops of dvc repro come after Airflow has ended.
    """
    deployment = new_deployment(services, "backfill", Path(tempfile.mkdtemp(dir=bench.folder)))
    (deployment.project / "dags" / f"{NO_OP}.py").write_text(DAG_FILE)
    rounds = [[START + timedelta(days=DAYS * number + day) for day in range(DAYS)] for number in range(RUNS)]
    _put_tables(deployment, [day for days in rounds for day in days])
    measures: dict[str, dict[str, list[float]]] = {name: defaultdict(list) for name in BACKFILLS}
    with running_airflow(
        deployment, source="s3://landing/iris/{date:%Y-%m-%d}.csv", start=START, max_active_runs=50, parallelism=TASKS
    ) as airflow:
        _wait_for_first_runs(airflow)
        for days in rounds:
            for name, dag_id in BACKFILLS.items():
                for kind, seconds in _one(bench, airflow, dag_id, days).items():
                    measures[name][kind].append(seconds / DAYS)
                wall, load = measures[name]["wall"][-1], os.getloadavg()[0]
                print(f"{name}: {wall:.1f} s per run; load of the machine {load:.1f}", flush=True)
    loops: dict[str, list[float]] = {name: [] for name in LOOPS}
    for days in rounds:
        for name, seconds in zip(LOOPS, _loop(bench, days[:LOOPED]), strict=True):
            loops[name].append(seconds)
    _report(bench, measures, loops)


def _put_tables(deployment: Deployment, days: Sequence[date]) -> None:
    """A table of its own for each date."""
    with suppress(deployment.s3.exceptions.BucketAlreadyOwnedByYou):
        deployment.s3.create_bucket(Bucket="landing")
    for number, day in enumerate(days):
        frame = load_iris(as_frame=True).frame
        frame.iloc[0, 0] = 4 + number / 10
        deployment.s3.put_object(Bucket="landing", Key=f"iris/{day}.csv", Body=frame.to_csv(index=False).encode())


def _wait_for_first_runs(airflow: Airflow) -> None:
    """Until the runs of today have ended that the schedules begin with."""
    wait_for(lambda: airflow.request("GET", f"dags/{NO_OP}").ok, 400)
    airflow.ask("PATCH", "dags/score_batch", json={"is_paused": True})  # a new champion would start it
    airflow.ask("PATCH", f"dags/{NO_OP}", json={"is_paused": False})
    for dag_id in (NO_OP, OURS):
        airflow.ended("scheduled__", 1, 300, dag_id)


def _one(bench: Bench, airflow: Airflow, dag_id: str, days: Sequence[date]) -> dict[str, float]:
    """Run a backfill: its seconds, those of the CPU in all, and by kind of process.

    What Airflow lets us wait for the end of an earlier one does not count.
    """

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
    pattern = f"backfill__({'|'.join(map(str, days))})"
    with counted(bench.folder) as seconds:
        started = time.perf_counter()
        airflow.ask("POST", "backfills", json=body)
        states = airflow.ended(pattern, len(days), 3600, dag_id)
        wall = time.perf_counter() - started
    assert set(states.values()) == {"success"}, airflow.detail(pattern, dag_id)
    return {"wall": wall, "CPU": sum(seconds.values()), **seconds}


def _loop(bench: Bench, days: Sequence[date]) -> Iterator[float]:
    """Seconds per date of a loop of dvc repro in one checkout, cold and repeated."""
    with bench.fresh() as place, bench.checkout(**place) as project:
        source = "source: sklearn:iris"
        for _ in LOOPS:
            seconds = 0.0
            for day in days:
                edit(project, source, f"source: s3://landing/iris/{day}.csv")
                source = f"source: s3://landing/iris/{day}.csv"
                seconds += bench.shell(project, "dvc repro")
            yield seconds / len(days)


def _report(
    bench: Bench, measures: Mapping[str, Mapping[str, Sequence[float]]], loops: Mapping[str, Sequence[float]]
) -> None:
    add = bench.report.add
    for name, kinds in measures.items():
        for kind, values in kinds.items():
            if max(values) >= LEAST:
                add(f"{name} run: {kind}", values, "s")
    for name in LOOPS:
        add(f"loop of dvc repro, per date, {name}", loops[name], "s")
        add(f"backfill {name} / loop of dvc repro", ratios(measures[name]["wall"], loops[name]), "ratio")
    add("backfill repeated / cold loop of dvc repro", ratios(measures["repeated"]["wall"], loops["cold"]), "ratio")
    for kind in ("wall", "CPU"):
        add(f"repeated run / no-op run, {kind}", ratios(measures["repeated"][kind], measures["no-op"][kind]), "ratio")
