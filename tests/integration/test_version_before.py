"""What the version before (0.1.0) left in the bucket and in the shared cache is read, or ignored; never misread.

The folder `version_before` has the bucket and the cache's folder `airflow` as a run of 0.1.0 left them, but for the
path of the cache and the report, which nothing reads. For results between tasks see `tests/unit/test_result.py`.
"""

import hashlib
import json
import shutil
from pathlib import Path

import pytest

from dvc_airflow.history import CacheFolder, History
from tests.support.dvc_project import DvcProject

FOLDER = Path(__file__).parent / "version_before"
RUN = "manual__2026-11-26T23:47:06.673893+00:00"


@pytest.fixture(scope="module")
def deployment(make_deployment):
    deployment = make_deployment("version-before")
    for file in (FOLDER / "bucket").rglob("*"):
        if file.is_file():
            key = file.relative_to(FOLDER / "bucket").as_posix()
            # The manifest names the bucket in which the objects were: that of config/config.yaml.
            bucket = "ml-pipeline" if key.startswith("dvc/") else deployment.bucket
            deployment.s3.put_object(Bucket=bucket, Key=key, Body=file.read_bytes())
    return deployment


@pytest.fixture(scope="module")
def manifest():
    (file,) = FOLDER.rglob("manifest.json")
    return json.loads(file.read_text())


def test_its_run_is_listed_shown_and_verified(deployment):
    (listed,) = deployment.cli_json("runs")
    shown = deployment.cli_json("show", RUN)

    assert (listed["run"], listed["version"], listed["outcome"], listed["gate"]) == (RUN, "1", "executed", "passed")
    assert [stage["reason"] for stage in shown["stages"]] == ["no earlier run is known"] * 3
    assert "9 of 9 objects" in deployment.cli("verify", RUN)


def test_its_run_is_restored_byte_for_byte(deployment, manifest, tmp_path):
    deployment.cli("restore", RUN, "--to", str(tmp_path / "there"))

    outputs = {record["path"]: record["md5"] for record in manifest["files"] if record["role"] == "output"}
    assert len(outputs) == 9
    found = {path: hashlib.md5((tmp_path / "there" / path).read_bytes()).hexdigest() for path in outputs}
    assert found == outputs


def test_its_history_is_read(manifest):
    history = History(CacheFolder(FOLDER / "cache"))

    for stage, entry in manifest["lock"]["dvc.lock"]["stages"].items():
        assert history.last("ml_pipeline", stage) == entry
        assert history.executed_by(entry)["run_id"] == RUN


def test_its_memo_is_ignored(tmp_path):
    project = DvcProject(tmp_path)
    shutil.copytree(FOLDER / "cache", project.cache, dirs_exist_ok=True)

    results = [project.stage_run("make", dag_id="dag").run() for _ in range(2)]

    assert [result.outcome for result in results] == ["executed", "unchanged"]
