"""Recorded runs in a real store: found, restored byte for byte, checked; nothing else runs."""

import hashlib
import json

import pytest

from include.errors import DataError, ServiceError
from include.lineage.lineage_store import LineageStore
from include.lineage.manifest import parse
from include.lineage.restore import restore
from include.lineage.run_keys import RunKey, key_of
from include.lineage.verify import verify
from tests.support.proxy import proxy_to
from tests.support.recorded_runs import MODEL, RecordedRuns

RUNS = 100


@pytest.fixture(scope="module")
def runs(make_deployment):
    runs = RecordedRuns(make_deployment("lineage"))
    for number in range(RUNS):
        runs.make(number, run_id=f"backfill__{number:03}", mlflow_run=f"{number:032x}", version=str(number + 1))
    return runs


def test_any_of_a_hundred_runs_comes_back_byte_for_byte(runs, tmp_path):
    for number in range(RUNS):
        manifest = runs.lineage.read(runs.find(f"backfill__{number:03}"))
        done = restore(manifest, runs.objects(manifest), tmp_path / str(number))
        there = {path: (done.folder / path).read_bytes() for path in runs.bytes[f"backfill__{number:03}"]}
        assert there == runs.bytes[f"backfill__{number:03}"]
        assert (done.folder / "dvc.lock").is_file()
        assert f"C: {1.0 + number}" in (done.folder / "config" / "config.yaml").read_text()


def test_a_restored_folder_is_replaced_only_by_force(runs, tmp_path):
    one, other = (runs.lineage.read(runs.find(name)) for name in ("backfill__001", "backfill__002"))
    restore(one, runs.objects(one), tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.*")}

    with pytest.raises(DataError, match=r"models/log_reg_model.pkl.* would be overwritten\. .*--force"):
        restore(other, runs.objects(other), tmp_path)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*.*")} == before

    restore(other, runs.objects(other), tmp_path, force=True)
    assert (tmp_path / "models" / "log_reg_model.pkl").read_bytes() == runs.bytes["backfill__002"][
        "models/log_reg_model.pkl"
    ]


def test_runs_are_listed_newest_first(runs):
    newest = runs.lineage.newest(40)

    assert [run.run_id for run in newest] == [f"backfill__{number:03}" for number in range(99, 59, -1)]
    assert len(runs.lineage.newest(1000)) == RUNS


@pytest.mark.parametrize("name", ["backfill__042", f"{42:032x}", "43", "v43"])
def test_a_run_is_found_by_its_id_its_mlflow_run_and_its_version(runs, name):
    assert runs.find(name).run_id == "backfill__042"


def test_a_beginning_is_enough_if_there_is_one_only(runs):
    # No other test's run begins so: the store goes on listing a folder whose objects were deleted.
    run_id = "scheduled__2026-05"
    runs.make(300, run_id=run_id, mlflow_run="e" * 32, version="301")
    try:
        assert {runs.find(name).run_id for name in (run_id, "sche", "ee")} == {run_id}
    finally:
        forget(runs, run_id)
    with pytest.raises(DataError, match="'backfill__09' is ambiguous: backfill__090, backfill__091"):
        runs.find("backfill__09")


@pytest.mark.parametrize("name", ["backfill__1", "ffff", "101", "../manifest", "", "backfill__042/"])
def test_an_unknown_run_is_named(runs, name):
    with pytest.raises(DataError, match=r"(no run|is ambiguous)"):
        runs.find(name)


def test_a_run_that_restores_a_model_is_added_and_the_first_stays(runs):
    first = runs.lineage.read(runs.find("7"))
    runs.make(6, run_id="manual__again", mlflow_run=first.mlflow_run["run_id"], version="7")

    try:
        assert [run.run_id for run in runs.lineage.of_version(MODEL, "7")] == ["backfill__006", "manual__again"]
        assert runs.lineage.read(runs.find("7")) == first
    finally:
        forget(runs, "manual__again")


def test_a_run_that_is_cleared_and_comes_to_something_else_keeps_what_it_came_to_before(runs):
    runs.make(200, run_id="manual__cleared", mlflow_run="c" * 32, version="201")
    first = runs.lineage.read(RunKey("ml_pipeline", "manual__cleared"))
    verdict = {"passed": True, "alias": "champion", "note": "of before", "table": "", "checks": []}
    runs.lineage.add(RunKey("ml_pipeline", "manual__cleared"), "verdict.json", json.dumps(verdict).encode())

    runs.make(201, run_id="manual__cleared", mlflow_run="d" * 32, version="202")

    try:
        run = RunKey("ml_pipeline", "manual__cleared")
        assert [found.run_id for found in runs.lineage.newest(3)].count("manual__cleared") == 1
        assert runs.find("202") == runs.find("manual__cleared") == run
        assert runs.lineage.verdict(run) is None
        before = runs.find("201")
        assert before == runs.find("c" * 32)
        assert runs.lineage.read(before) == first
        assert runs.lineage.verdict(before)["note"] == "of before"
    finally:
        forget(runs, "manual__cleared")


def test_a_changed_byte_in_the_store_is_found_named_and_never_restored(runs, tmp_path):
    manifest = runs.lineage.read(runs.find("backfill__050"))
    model = runs.bytes["backfill__050"]["models/log_reg_model.pkl"]
    key = runs.key(hashlib.md5(model).hexdigest())
    changed = model[:-1] + bytes([model[-1] ^ 1])
    runs.deployment.s3.put_object(Bucket=runs.deployment.bucket, Key=key, Body=changed)

    try:
        count, damages = verify(manifest, runs.objects(manifest))
        assert count == 7
        found, wanted = hashlib.md5(changed).hexdigest(), hashlib.md5(model).hexdigest()
        said = f"object s3://{runs.deployment.bucket}/{key} has different content (md5 {found}), expected md5 {wanted}"
        assert [str(damage) for damage in damages] == [f"models/log_reg_model.pkl: {said}"]
        with pytest.raises(DataError, match=r"models/log_reg_model\.pkl: .* has different content"):
            restore(manifest, runs.objects(manifest), tmp_path / "there")
        assert not (tmp_path / "there").exists()
    finally:
        runs.deployment.s3.put_object(Bucket=runs.deployment.bucket, Key=key, Body=model)


def test_a_store_that_goes_away_in_the_middle_leaves_the_files_as_they_were(runs, tmp_path):
    one, other = (runs.lineage.read(runs.find(name)) for name in ("backfill__001", "backfill__002"))
    restore(one, runs.objects(one), tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.*")}
    with proxy_to(runs.deployment.env["AWS_ENDPOINT_URL"]) as proxy:
        away = runs.runtime.model_copy(update={"aws_endpoint_url": proxy.url})
        for answered in range(7):
            proxy.left = answered
            with pytest.raises(ServiceError, match="the object store at"):
                restore(other, LineageStore(runs.config, away).objects_of(other), tmp_path, force=True)
            assert {path: path.read_bytes() for path in tmp_path.rglob("*.*")} == before
        proxy.left = None
        restore(other, LineageStore(runs.config, away).objects_of(other), tmp_path, force=True)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*.*")} != before


def test_a_deleted_object_is_named(runs):
    manifest = runs.lineage.read(runs.find("backfill__051"))
    content = runs.bytes["backfill__051"]["data/processed/train.parquet"]
    key = runs.key(hashlib.md5(content).hexdigest())
    runs.deployment.s3.delete_object(Bucket=runs.deployment.bucket, Key=key)

    try:
        _, damages = verify(manifest, runs.objects(manifest))
        assert [(damage.path, damage.found) for damage in damages] == [("data/processed/train.parquet", None)]
        assert f"object s3://{runs.deployment.bucket}/{key} is gone" in str(damages[0])
    finally:
        runs.deployment.s3.put_object(Bucket=runs.deployment.bucket, Key=key, Body=content)


@pytest.mark.parametrize(
    ("where", "value"),
    [
        (("files", -1, "path"), "../outside"),
        (("files", -1, "path"), "/outside"),
        (("files", -1, "md5"), "/etc/passwd"),
        (("code", "git_sha"), "--output=/outside"),
        (("lock",), {"../dvc.lock": {"schema": "2.0", "stages": {}}}),
        (("lock", "dvc.lock", "schema"), "3.0"),
        (("files", 0, "size"), 1),
        (("config",), {}),
        (("schema_version",), "2"),
    ],
)
def test_a_manifest_that_was_changed_is_refused_before_anything_is_done(runs, where, value):
    document = runs.lineage.read(runs.find("backfill__052")).model_dump(mode="json")
    inner = document
    for step in where[:-1]:
        inner = inner[step]
    inner[where[-1]] = value

    with pytest.raises(DataError, match="here"):
        parse(json.dumps(document), "here")


def test_a_folder_that_is_a_link_out_is_not_followed(runs, tmp_path):
    manifest = runs.lineage.read(runs.find("backfill__052"))
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "models").symlink_to(tmp_path / "elsewhere")

    with pytest.raises(DataError, match="is a link out of"):
        restore(manifest, runs.objects(manifest), tmp_path / "there")
    assert list((tmp_path / "elsewhere").iterdir()) == []
    assert [path.name for path in (tmp_path / "there").iterdir()] == ["models"]


def test_a_folder_in_which_one_file_cannot_be_written_stays_as_it_was(runs, tmp_path):
    one, other = (runs.lineage.read(runs.find(name)) for name in ("backfill__001", "backfill__002"))
    restore(one, runs.objects(one), tmp_path)
    (tmp_path / "reports" / "mlflow_run.json").unlink()
    (tmp_path / "reports" / "mlflow_run.json").mkdir()  # in the way
    (tmp_path / "reports" / "mlflow_run.json" / "mine.txt").write_text("mine")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}

    with pytest.raises(OSError, match=r"mlflow_run\.json"):
        restore(other, runs.objects(other), tmp_path, force=True)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_a_changed_file_beside_the_manifest_is_named(runs):
    run = runs.find("backfill__053")
    manifest, key = runs.lineage.read(run), key_of(run, "dvc.lock")
    text = runs.lineage.get(key)
    assert runs.lineage.changed_documents(run, manifest) == []
    runs.deployment.s3.put_object(Bucket=runs.deployment.bucket, Key=key, Body=text + b"#")

    try:
        assert runs.lineage.changed_documents(run, manifest) == ["dvc.lock"]
    finally:
        runs.deployment.s3.put_object(Bucket=runs.deployment.bucket, Key=key, Body=text)


def test_a_run_id_of_digits_is_found_where_no_version_has_that_number(runs):
    runs.make(400, run_id="20260101", mlflow_run="f" * 32, version="401")
    try:
        assert runs.find("20260101").run_id == "20260101"
        assert runs.find("401").run_id == "20260101"
    finally:
        forget(runs, "20260101")


def test_one_manifest_that_cannot_be_read_does_not_hide_the_others(runs):
    run = runs.find("backfill__098")
    key = key_of(run, "manifest.json")
    text = runs.lineage.get(key)
    runs.deployment.s3.put_object(Bucket=runs.deployment.bucket, Key=key, Body=b'{"schema_version": 4}')

    try:
        entries = runs.lineage.read_all(runs.lineage.newest(3))
        assert [entry.manifest is None for entry in entries] == [False, True, False]
        assert "has schema version 4; this version reads 2 to 3" in entries[1].problem
    finally:
        runs.deployment.s3.put_object(Bucket=runs.deployment.bucket, Key=key, Body=text)


def forget(runs: RecordedRuns, run_id: str) -> None:
    for key in runs.deployment.objects():
        if key.startswith("lineage/") and f"/{run_id}" in key:
            runs.deployment.s3.delete_object(Bucket=runs.deployment.bucket, Key=key)
