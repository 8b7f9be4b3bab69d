"""A garbage collection and the pushes of runs, at the same time or one after the other: no run loses what it needs."""

import logging
import os
import random
import threading
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from dvc_airflow import collecting as marks
from dvc_airflow.push_run import PushRun
from dvc_airflow.result import StageResult
from include.collection.decide import Rules
from include.collection.plan import Planner
from include.collection.store import Bucket
from include.collection.sweep import collecting, sweep
from include.errors import ServiceError
from include.lineage.collected import REMOTES
from include.lineage.lineage_store import LineageStore
from include.settings import RuntimeSettings
from include.settings.config_file import load_config
from include.store.lock import leased
from tests.support.code_project import Project
from tests.support.pushed import BUCKET, DEFINITIONS, Pushed, make, stored

LATER = timedelta(days=1000)
KEEP = timedelta(days=90)
PUSHES = int(os.environ.get("PUSHES", "3"))


@pytest.fixture
def bucket(services, s3, pushed) -> Bucket:
    config = load_config()
    config = config.model_copy(update={"storage": config.storage.model_copy(update={"bucket": BUCKET})})
    known = {name.lower(): value for name, value in services["env"].items()}
    for key in [
        one["Key"] for one in s3.list_objects_v2(Bucket=BUCKET, Prefix=REMOTES).get("Contents", [])
    ]:  # of the tests before, whose remotes are in the same bucket
        s3.delete_object(Bucket=BUCKET, Key=key)
    return Bucket(LineageStore(config, RuntimeSettings.model_validate(known)))


def collect(bucket: Bucket, pushed: Pushed, rules: Rules | None = None, pause: float = 0) -> int:
    """Call a collection, by default one of years later; gives how many keys it deleted.

    :param pause: seconds between what it decides and what it deletes.
    """
    planner = Planner(bucket, pushed.prefix, rules or Rules(datetime.now(UTC) + LATER, KEEP, timedelta()))
    shown, plan = planner.plan(), planner.plan

    def slow() -> Any:
        made = plan()
        time.sleep(pause)
        return made

    planner.plan = slow  # type: ignore[method-assign]
    with collecting(bucket, shown.prefixes) as lease:
        return sum(sweep(planner, shown, lease).counts.values())


def push(pushed: Pushed, made: StageResult) -> None:
    PushRun(pushed.run(), [made], definitions=DEFINITIONS, environment=pushed.environment).run()


def lacking(s3: Any, pushed: Pushed, made: StageResult) -> list[str]:
    """What the remote lacks of a result: by its lock, and by the list of its folder."""
    return sorted(set(pushed.cached_of(made)) - stored(s3, pushed).keys())


def test_a_result_that_was_collected_is_pushed_again_from_the_workers_cache(s3, pushed, bucket):
    first = pushed.made()
    pushed.push()
    pushed.push()  # by the memory of the first
    entries = stored(s3, pushed, "runs")
    make(pushed, 'open("out", "w").write("other")\n')
    pushed.push()  # the last one of its DAG now

    assert collect(bucket, pushed) > len(entries)
    assert lacking(s3, pushed, first) == sorted(pushed.cached_of(first))
    assert not entries.keys() & stored(s3, pushed, "runs").keys()

    push(pushed, first)

    assert lacking(s3, pushed, first) == []
    assert entries.keys() <= stored(s3, pushed, "runs").keys()


def test_no_push_proves_what_a_collection_deletes_at_the_same_time(s3, pushed, bucket):
    """As a run does: it pushes earlier results, and what it has pushed has to be there as long as it is young."""
    chance, results = random.Random(4), []
    for number in range(2):
        make(
            pushed,
            f'import os\nos.makedirs("out")\nfor n in (1, {number + 2}): open(f"out/{{n}}", "w").write(str(n))\n',
        )
        results.append(pushed.made())
        push(pushed, results[-1])
    began, stop, deleted = [bucket.now()], threading.Event(), []

    def collect_on_and_on() -> None:
        pauses = random.Random(5)
        while not stop.is_set():
            young = Rules(began[0] - timedelta(seconds=1), timedelta(), timedelta())
            deleted.append(collect(bucket, pushed, young, pauses.uniform(0, 0.3)))

    collector = threading.Thread(target=collect_on_and_on)
    collector.start()
    try:
        for _ in range(PUSHES):
            made = chance.choice(results)
            push(pushed, made)
            assert lacking(s3, pushed, made) == []
            time.sleep(1.1)  # the store's clock has no fractions of a second
            began[0] = bucket.now()
    finally:
        stop.set()
        collector.join()
    assert sum(1 for count in deleted if count) > PUSHES / 3


def test_a_mark_that_a_killed_collection_left_holds_up_a_push_for_its_lease(s3, pushed, bucket, monkeypatch):
    made = pushed.made()
    monkeypatch.setattr(marks, "STALE_SECONDS", 1.5)
    with leased(bucket.s3, BUCKET, "airflow/gc", folder=pushed.prefix) as lease:
        began = time.monotonic()
        push(pushed, made)
        assert time.monotonic() - began > 1.5
        assert lacking(s3, pushed, made) == []

        with pytest.raises(ServiceError, match=r"airflow/gc was taken over by another process"):
            lease.extend()
    mark = s3.get_object(Bucket=BUCKET, Key=f"{pushed.prefix}/airflow/gc")
    assert mark["Body"].read() == b""  # who may not delete can do that
    collect(bucket, pushed)  # takes the empty mark at once
    assert "gc" not in stored(s3, pushed, "airflow")


def test_a_run_that_is_cleared_while_its_old_lock_goes_leaves_its_lock_again(s3, pushed, bucket, caplog):
    caplog.set_level(logging.INFO)
    made, run = pushed.made(), pushed.run()
    key = f"{pushed.prefix}/airflow/runs/dag/{run.run_id}"
    again = threading.Thread(target=PushRun(run, [made], environment=pushed.environment).run)
    with leased(bucket.s3, BUCKET, "airflow/gc", folder=pushed.prefix):
        again.start()
        while "waiting until it has ended" not in caplog.text and again.is_alive():
            time.sleep(0.1)
        assert bucket.get(key) is not None
        s3.delete_object(Bucket=BUCKET, Key=key)
    again.join()

    assert bucket.get(key) is not None


def test_the_code_of_a_run_is_kept_from_its_beginning(s3, pushed, bucket, tmp_path):
    (tmp_path / "code").mkdir()
    project = Project(tmp_path / "code")
    (project.path / "large.bin").write_bytes(b"x" * 1024 * 1024)
    project.commit("Large")
    run = project.run(remote_url=f"s3://{BUCKET}/{pushed.prefix}", credentials=pushed.credentials)
    pack = project.pack(run).id
    whole = stored(s3, pushed, "airflow/code")
    assert len(whole) == 3
    began = bucket.now() + timedelta(seconds=1)

    assert collect(bucket, pushed, Rules(began - timedelta(minutes=1), timedelta(), timedelta())) == 0
    time.sleep(2)
    project.pack(run)  # a run of now, of the same code
    assert collect(bucket, pushed, Rules(began, timedelta(), timedelta())) == 0
    assert collect(bucket, pushed) == 3

    assert project.pack(run).id == pack
    assert stored(s3, pushed, "airflow/code") == whole
