"""Garbage collection of a store of a hundred random runs: what is kept is whole, what nothing names is gone."""

import json
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

import pytest

from dvc_airflow.run_locks import announce_lock
from include.collection import sweep as sweeping
from include.collection.decide import Champions
from include.collection.sweep import UNUSED, collecting, sweep
from include.errors import DataError, ServiceError
from include.lineage.collected import collected_run, note
from include.lineage.manifest import Manifest
from include.lineage.run_keys import RunKey, key_of
from include.settings.config_file import dump_yaml
from tests.support.random_runs import DAG, RandomRuns

NOW = datetime.now(UTC).replace(microsecond=0) + timedelta(days=1000)
RUNS = 100
NUMBERS = count()


class KilledError(BaseException):
    """As if the process had been killed."""


KEPT_VERSIONS = ("3", "17")


@pytest.fixture
def runs(make_deployment) -> RandomRuns:
    return RandomRuns(make_deployment(f"gc-{next(NUMBERS)}"), NOW, seed=7)


def collect(runs: RandomRuns, **options: Any) -> dict[str, int]:
    planner = runs.planner(**options)
    plan = planner.plan()
    with collecting(planner.bucket, plan.prefixes) as lease:
        swept = sweep(planner, plan, lease)
    return {kind.name: count for kind, count in swept.counts.items()}


def test_of_a_hundred_runs_those_kept_are_whole_and_what_only_others_named_is_gone(runs):
    runs.make(RUNS)
    first = runs.listed()["run-002"]
    runs.run("run-002", 199, version="200")  # it was cleared; of before there is version 3
    manifests = runs.listed()
    champions = Champions({"m": KEPT_VERSIONS}, ())
    foreign = [
        "predictions/run/predictions.csv",
        "locks/registry/m",
        "other/files/md5/ab/cd",
        "dvc/files/md5/notes.txt",
    ]
    for key in foreign:
        runs.s3.put_object(Bucket=runs.bucket, Key=key, Body=b"theirs")

    before = runs.deployment.objects()
    plan = runs.planner(champions=champions).plan()
    assert runs.deployment.objects() == before
    deleted = collect(runs, champions=champions)

    expected = {name for name, one in manifests.items() if is_young(one) or one.model.version in KEPT_VERSIONS}
    kept = runs.listed()
    assert kept == {name: manifests[name] for name in expected}
    assert 30 < len(kept) < 60
    (before_cleared,) = runs.lineage.of_version("m", "3")
    assert runs.lineage.read(before_cleared) == first
    assert {name: runs.damages(one) for name, one in kept.items()} == {name: [] for name in kept}
    assert {run.run_id for run in plan.expired.values()} == manifests.keys() - kept.keys()
    assert min(deleted[kind] for kind in ("INDEX", "MANIFEST", "ENTRY", "CODE_LIST", "CODE", "FOLDER", "FILE")) > 0
    after = runs.deployment.objects()
    assert after.keys() >= {*foreign}
    assert_only_what_is_named(runs, after, [*kept.values(), first])
    assert collect(runs, champions=champions) == {}


def test_a_collection_that_dies_at_any_point_leaves_all_that_is_listed_whole(runs, monkeypatch):
    """It dies in the middle of each request that deletes, until there is nothing left to delete."""
    runs.make(10)
    monkeypatch.setattr("include.collection.sweep.BATCH", 5)
    expected = {name for name, one in runs.listed().items() if is_young(one)}
    deaths, listed = 0, []
    left = ("locks/gc", f"{runs.config.storage.prefix}/airflow/gc")

    def deletes_some_and_dies(bucket: Any, keys: list[str]) -> None:
        if not keys[0].endswith(UNUSED):
            chosen = runs.random.sample(keys, runs.random.randint(0, len(keys)))
            for key in [*chosen, *keys[:1]]:
                runs.s3.delete_object(Bucket=runs.bucket, Key=key)
            raise KilledError

    with monkeypatch.context() as patch:
        patch.setattr("include.collection.sweep._delete", deletes_some_and_dies)
        while True:
            try:
                assert collect(runs) == {}
                break
            except KilledError:
                deaths += 1
            for key in left if deaths > len(listed) else ():  # of a request that nobody answered; for a minute
                assert runs.lineage.get(key)
                runs.s3.delete_object(Bucket=runs.bucket, Key=key)
            listed.append(len(runs.listed()))
            assert {name: found for name, one in runs.listed().items() if (found := runs.damages(one))} == {}

    assert deaths > 10
    assert listed[0] > listed[-1]
    assert runs.listed().keys() == expected
    assert_only_what_is_named(runs, runs.deployment.objects(), [*runs.listed().values()])


def test_of_two_collections_at_once_the_second_says_so(runs):
    runs.make(3)
    before = runs.deployment.objects()
    planner = runs.planner(keep_days=1)
    with (
        collecting(planner.bucket, []),
        pytest.raises(ServiceError, match=r"another gc of s3://.* is at work, or was killed less than a minute ago"),
    ):
        collect(runs, keep_days=1)

    assert runs.deployment.objects() == before
    assert collect(runs, keep_days=1)


def test_while_a_push_may_be_at_work_on_a_folder_no_object_is_deleted(runs, monkeypatch):
    """It has left its lock file, and not yet the list of its folder: what is in that is not known."""
    monkeypatch.setattr("include.collection.sweep.PAUSE", 0)
    runs.make(5)
    list_of_folder = runs.listed()["run-004"].md5_of("plots")
    key = f"{runs.config.storage.prefix}/files/md5/{list_of_folder[:2]}/{list_of_folder[2:]}"
    content = runs.lineage.get(key)
    before = runs.deployment.objects()
    runs.s3.delete_object(Bucket=runs.bucket, Key=key)
    for one in before:
        if one.startswith("lineage/") or ("/airflow/runs/" in one and not one.endswith("run-004")):
            runs.s3.delete_object(Bucket=runs.bucket, Key=one)
    runs.now = datetime.now(UTC) + timedelta(minutes=30)

    assert collect(runs, keep_days=1, grace=timedelta()) == {}

    runs.s3.put_object(Bucket=runs.bucket, Key=key, Body=content)
    assert collect(runs, keep_days=1, grace=timedelta()).keys() == {"ENTRY", "FOLDER", "FILE"}


def test_of_a_run_that_was_cleared_the_later_results_are_the_newest_of_their_dag(runs):
    """Both started at the same time: a task was cleared."""
    runs.run("run", 150, "1", is_new=True)
    again = runs.run("run", 150, "2", is_new=True)

    assert collect(runs)["MANIFEST"] == 1

    assert runs.listed() == {"run": again}
    assert runs.damages(again) == []
    assert runs.lineage.collected(RunKey(DAG, "run")) is None
    assert (runs.lineage.collected_named("1", "m") is None, runs.lineage.collected_named("2", "m")) == (False, None)


def test_what_no_push_puts_into_the_remote_is_not_waited_for(runs):
    """A folder of sources, which each run here has, and a folder outside the project."""
    young = runs.run("run", 5, "1", is_new=True)
    outside = {"path": "/data/folder", "hash": "md5", "md5": "7" * 32 + ".dir"}
    announce_lock(runs, "other", "pushing", {"dvc.lock": {"make": {"cmd": "make", "outs": [outside]}}})
    outs = [{"path": "x", "md5": young.md5_of("model")}, {"path": "../y", "md5": "8" * 32}]
    key = runs.put(f"runs/ab/{'ab' * 32}/{'cd' * 32}", dump_yaml({"cmd": "make", "outs": outs}).encode())

    may_go = runs.planner().plan().keys()
    assert key not in may_go
    runs.now = datetime.now(UTC)
    assert runs.planner(keep_days=2000).plan().waiting == []


@pytest.mark.parametrize("started", ["yesterday", "2026-01-01T00:00:00"])
def test_a_manifest_of_an_unknown_time_is_named(runs, started):
    runs.run("run", 5, "1", is_new=True)
    key = key_of(RunKey(DAG, "run"), "manifest.json")
    document = json.loads(runs.lineage.get(key))
    document["airflow"]["started_at"] = started
    runs.s3.put_object(Bucket=runs.bucket, Key=key, Body=json.dumps(document).encode())

    with pytest.raises(DataError, match=rf"{key} cannot be read: .*{started}.* call gc again\."):
        runs.planner().plan()


def test_where_the_store_fails_meanwhile_it_says_what_was_deleted(runs, monkeypatch):
    runs.make(5)
    monkeypatch.setattr("include.collection.sweep.BATCH", 2)
    delete, calls = sweeping._delete, count()

    def fails_later(*arguments: Any) -> None:
        if next(calls) == 3:
            raise ServiceError("the store has stopped.")
        delete(*arguments)

    monkeypatch.setattr(sweeping, "_delete", fails_later)
    with pytest.raises(ServiceError, match=r"has stopped\. 4 keys were deleted before\. Call gc again for the rest\."):
        collect(runs, keep_days=1)


def test_a_run_that_is_recorded_while_its_objects_go_is_refused(runs, monkeypatch):
    manifest = runs.run("run", 150, "1", is_new=True)
    write, run = runs.lineage._write, RunKey(DAG, "run")

    def write_beside_a_collection(*arguments: Any) -> None:
        write(*arguments)
        runs.s3.put_object(Bucket=runs.bucket, Key=collected_run(run.path), Body=note("run", NOW))
        md5 = manifest.md5_of("model")
        runs.s3.delete_object(Bucket=runs.bucket, Key=f"{runs.config.storage.prefix}/files/md5/{md5[:2]}/{md5[2:]}")

    monkeypatch.setattr(runs.lineage, "_write", write_beside_a_collection)
    with pytest.raises(DataError, match=r"gc removed what run run had made, on .* Clear the run from its first task"):
        runs.lineage.record(manifest)

    assert runs.lineage.get(key_of(run, "manifest.json")) is None


def is_young(manifest: Manifest) -> bool:
    return datetime.fromisoformat(manifest.airflow.started_at) > NOW - timedelta(days=90)


def assert_only_what_is_named(runs: RandomRuns, keys: dict[str, str], kept: list[Manifest]) -> None:
    """By the manifests alone: their outputs, the files of their folders, their code."""
    named, packs = set(), set()
    for one in kept:
        files, _ = runs.lineage.objects_of(one).files(one.outputs)
        named |= {file.md5 for file in files} | {output.md5 for output in one.outputs}
        packs.add(one.code.pack)
    prefix = f"{runs.config.storage.prefix}/files/md5/"
    found = {key.removeprefix(prefix).replace("/", "") for key in keys if key.startswith(prefix)}
    assert found - {"notes.txt"} == named
    assert {key.split("/")[-1][:64] for key in keys if "/airflow/code/" in key and "/large/" not in key} == packs
