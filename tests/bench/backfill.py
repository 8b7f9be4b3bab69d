"""A backfill with the real scheduler, beside a loop of dvc repro."""

import os
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import Any

from tests.bench.bench import RUNS, START, Bench, edit
from tests.bench.cost import put_tables
from tests.bench.report import ratios
from tests.support.deployment import new_deployment
from tests.support.scheduler import Airflow, running_airflow

DAYS = int(os.environ.get("BENCH_DAYS", "10"))  # of a backfill
KINDS = ("cold", "repeated")
TASKS = 4  # at a time: two per core. With more runs at a time Airflow's scheduler takes longer for each of its rounds


def backfill(bench: Bench, services: Mapping[str, Any]) -> None:
    """Backfills with the real scheduler, cold and repeated, each over dates of its own; loops of dvc repro likewise."""
    deployment = new_deployment(services, "backfill", Path(tempfile.mkdtemp(dir=bench.folder)))
    rounds = [[START + timedelta(days=DAYS * number + day) for day in range(DAYS)] for number in range(RUNS)]
    put_tables(deployment, [day for days in rounds for day in days])
    ours: dict[str, list[float]] = {name: [] for name in KINDS}
    with running_airflow(
        deployment,
        source="s3://landing/iris/{date:%Y-%m-%d}.csv",
        start=START,
        max_active_runs=50,
        parallelism=TASKS,
    ) as airflow:
        for days in rounds:
            for name in KINDS:
                ours[name].append(one_backfill(airflow, days))
                print(f"{name}: {ours[name][-1]:.0f} s; load of the machine {os.getloadavg()[0]:.1f}", flush=True)
    loops: dict[str, list[float]] = {name: [] for name in KINDS}
    for days in rounds:
        for name, seconds in zip(KINDS, loop(bench, days), strict=True):
            loops[name].append(seconds)
    for name in KINDS:
        bench.report.add(f"{DAYS}-date backfill, {name}", ours[name], "s")
        bench.report.add(f"loop of dvc repro over {DAYS} dates, {name}", loops[name], "s")
        bench.report.add(f"backfill {name} / loop of dvc repro", ratios(ours[name], loops[name]), "ratio")
    bench.report.add("backfill repeated / cold loop of dvc repro", ratios(ours["repeated"], loops["cold"]), "ratio")


def loop(bench: Bench, days: Sequence[date]) -> Iterator[float]:
    """Seconds of a loop of dvc repro in one checkout, cold and repeated."""
    with bench.fresh() as place, bench.checkout(**place) as project:
        source = "source: sklearn:iris"
        for _ in KINDS:
            seconds = 0.0
            for day in days:
                edit(project, source, f"source: s3://landing/iris/{day}.csv")
                source = f"source: s3://landing/iris/{day}.csv"
                seconds += bench.shell(project, "dvc repro")
            yield seconds


def one_backfill(airflow: Airflow, days: Sequence[date]) -> float:
    """Run it, and wait for its end.

    :return: seconds from the creation on; what Airflow lets us wait for the end of an earlier one does not count.
    """
    airflow.backfill(str(days[0]), str(days[-1]), at_once=TASKS)
    started = time.perf_counter()
    pattern = f"backfill__({'|'.join(map(str, days))})"
    states = airflow.ended(pattern, len(days), 3600)
    assert set(states.values()) == {"success"}, airflow.detail(pattern)
    return time.perf_counter() - started
