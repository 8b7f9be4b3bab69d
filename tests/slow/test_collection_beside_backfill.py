"""A garbage collection beside a running backfill, with the real scheduler: it deletes what the runs are restoring."""

import datetime as dt
import io
import threading
import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from sklearn.datasets import load_iris

from include.collection.decide import Rules
from include.collection.plan import Planner
from include.collection.store import Bucket
from include.collection.sweep import collecting, sweep
from include.lineage.lineage_store import LineageStore
from include.lineage.verify import verify
from include.settings import RuntimeSettings
from include.settings.config_file import load_config
from tests.support.deployment import Deployment
from tests.support.scheduler import Airflow, running_airflow

START, EARLIER, LATER = dt.date(2026, 3, 1), 4, 6  # dates that ran before, and dates that run beside the collection
TABLES = 4  # the fifth date has the rows of the first


@pytest.fixture(scope="module")
def airflow(make_deployment: Callable[..., Deployment]) -> Iterator[Airflow]:
    deployment = make_deployment("collection", retries=3)
    deployment.s3.create_bucket(Bucket="collection-dates")
    iris = load_iris(as_frame=True).frame
    for number in range(EARLIER + LATER):
        noisy = iris.copy()
        noisy.iloc[:, :4] += np.random.default_rng(number % TABLES).normal(0, 0.05, (len(iris), 4)).round(3)
        text = io.StringIO()
        noisy.to_csv(text, index=False)
        key = f"iris/{START + dt.timedelta(days=number)}.csv"
        deployment.s3.put_object(Bucket="collection-dates", Key=key, Body=text.getvalue())
    source = "s3://collection-dates/iris/{date:%Y-%m-%d}.csv"
    with running_airflow(deployment, source=source, start=START, max_active_runs=LATER, parallelism=4) as airflow:
        yield airflow


def backfill(airflow: Airflow, first: int, count: int) -> None:
    dates = [str(START + dt.timedelta(days=number)) for number in (first, first + count - 1)]
    airflow.backfill(*dates, at_once=count)


def test_every_manifest_is_whole_after_a_collection_beside_a_backfill(airflow):
    deployment = airflow.deployment
    config = load_config(deployment.project)
    runtime = RuntimeSettings.model_validate({name.lower(): value for name, value in deployment.env.items()})
    lineage = LineageStore(config, runtime)
    backfill(airflow, 0, EARLIER)
    assert set(airflow.ended("backfill__", EARLIER, 600).values()) == {"success"}
    before, bucket = {run.run_id for run in lineage.newest(100)}, Bucket(lineage)
    time.sleep(2)
    young, stop, deleted = bucket.now(), threading.Event(), list[dict[str, int]]()

    def collect_on_and_on() -> None:
        while not stop.is_set():
            now = bucket.now()
            rules = Rules(now, now - young, dt.timedelta())
            # Without champions: each of the earlier runs may have been one, and would be kept.
            planner = Planner(bucket, config.storage.prefix, rules)
            plan = planner.plan()
            with collecting(bucket, plan.prefixes) as lease:
                swept = sweep(planner, plan, lease)
            deleted.append({kind.name: count for kind, count in swept.counts.items()})
            stop.wait(0.5)

    collector = threading.Thread(target=collect_on_and_on)
    backfill(airflow, EARLIER, LATER)
    collector.start()
    try:
        ended = airflow.ended("backfill__", EARLIER + LATER, 900)
    finally:
        stop.set()
        collector.join()

    assert set(ended.values()) == {"success"}
    assert len(deleted) > 3
    assert sum(one.get("FILE", 0) for one in deleted) > 0
    listed = lineage.newest(100)
    assert len({run.run_id for run in listed} - before) == LATER
    assert len({run.run_id for run in listed} & before) < EARLIER
    manifests = [lineage.read(run) for run in listed]
    assert [verify(one, lineage.objects_of(one))[1] for one in manifests] == [[] for _ in manifests]
