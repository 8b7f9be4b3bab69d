"""A backfill with the real scheduler, beside a loop of dvc repro."""

import os
import tempfile
import time
from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import Any

from sklearn.datasets import load_iris

from tests.bench.bench import START, Bench, edit
from tests.bench.cost import cost
from tests.support.deployment import new_deployment
from tests.support.scheduler import Airflow, running_airflow

DAYS = int(os.environ.get("BENCH_DAYS", "30"))
AT_ONCE = 50  # runs
TASKS = 4  # at a time: two per core. With more runs at a time Airflow's scheduler takes longer for each of its rounds


def backfill(bench: Bench, services: Mapping[str, Any]) -> None:
    """A backfill with the real scheduler against a loop of dvc repro over the same dates. Once: it takes long."""
    deployment = new_deployment(services, "backfill", Path(tempfile.mkdtemp(dir=bench.folder)))
    deployment.s3.create_bucket(Bucket="landing")
    days = [START + timedelta(days=number) for number in range(DAYS)]
    for number, day in enumerate(days):
        frame = load_iris(as_frame=True).frame
        frame.iloc[0, 0] = 4 + number / 10
        deployment.s3.put_object(Bucket="landing", Key=f"iris/{day}.csv", Body=frame.to_csv(index=False).encode())
    loop = []
    with running_airflow(
        deployment,
        source="s3://landing/iris/{date:%Y-%m-%d}.csv",
        start=START,
        max_active_runs=AT_ONCE,
        parallelism=TASKS,
    ) as airflow:
        ours = [
            bench.report.add(f"{DAYS}-date backfill, {name}", [one_backfill(airflow, days)], "s")
            for name in ("cold", "repeated")
        ]
        bench.report.add(f"{AT_ONCE} runs started at once, all succeeded", [runs_at_once(airflow)], "s")
    with bench.fresh() as place, bench.checkout(**place) as project:
        source = "source: sklearn:iris"
        for _ in ("cold", "repeated"):
            seconds = 0.0
            for day in days:
                edit(project, source, f"source: s3://landing/iris/{day}.csv")
                source = f"source: s3://landing/iris/{day}.csv"
                seconds += bench.shell(project, "dvc repro")
            loop.append(seconds)
    for name, mine, theirs in zip(("cold", "repeated"), ours, loop, strict=True):
        bench.report.add(f"loop of dvc repro over {DAYS} dates, {name}", [theirs], "s")
        bench.report.add(f"backfill {name} / loop of dvc repro", [mine / theirs], "ratio")
    bench.report.add("backfill repeated / cold loop of dvc repro", [ours[1] / loop[0]], "ratio")
    cost(bench, services)


def one_backfill(airflow: Airflow, days: Sequence[date]) -> float:
    """Run it, and wait for its end.

    :return: seconds from the creation on; what Airflow lets us wait for the end of an earlier one does not count.
    """
    airflow.backfill(str(days[0]), str(days[-1]), at_once=TASKS)
    started = time.perf_counter()
    states = airflow.ended("backfill__", len(days), 3600)
    assert set(states.values()) == {"success"}, states
    return time.perf_counter() - started


def runs_at_once(airflow: Airflow) -> float:
    """Trigger many runs that need the same results; all must succeed."""
    started = time.perf_counter()
    for number in range(AT_ONCE):
        airflow.trigger(f"at_once_{number}", **{"data.source": "sklearn:wine", "registry.minimum": 0.5})
    states = airflow.ended("at_once_", AT_ONCE, 3600)
    assert set(states.values()) == {"success"}, states
    return time.perf_counter() - started
