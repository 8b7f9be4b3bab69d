"""What is lost or changed behind the pipeline's back, in cache, store or MLflow, is found before it is used."""

import os
from pathlib import Path
from typing import Any

import pytest

from tests.support.airflow_fork import AirflowCallError

STAGES = ("get_data", "preprocess", "train_and_evaluate")
MODEL = "models/log_reg_model.pkl"
RAW = "data/raw/dataset.parquet"


@pytest.fixture(scope="module")
def deployment(make_deployment):
    return make_deployment("damage")


@pytest.fixture(scope="module")
def good(deployment):
    """A run that went well."""
    (run,) = deployment.dag({})
    assert run["state"] == "success"
    return run


REUSED = {"unchanged", "restored"}  # which of the two depends on the run before


def outcomes(run: dict[str, Any]) -> list[str]:
    return [run["returned"][f"pipeline.{stage}"]["outcome"] for stage in STAGES]


def reason(run: dict[str, Any], stage: str) -> str:
    return run["returned"][f"pipeline.{stage}"]["reason"]


def md5(run: dict[str, Any], path: str) -> str:
    found = {
        out["path"]: out["md5"]
        for stage in STAGES
        for out in run["returned"][f"pipeline.{stage}"]["lock"]["dvc.lock"][stage]["outs"]
    }
    return found[path]


def cached(deployment, oid: str) -> Path:
    return Path(deployment.env["DVC_CACHE_DIR"]) / "files" / "md5" / oid[:2] / oid[2:]


def stored(oid: str) -> str:
    return f"dvc/files/md5/{oid[:2]}/{oid[2:]}"


def overwrite(file: Path) -> None:
    """As a bad disk does it: other bytes, and nothing else to be seen."""
    before = file.stat()
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.chmod(0o644)
    with open(file, "r+b") as stream:
        stream.write(content)
    file.chmod(0o444)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))


def test_workers_without_a_shared_cache_find_the_results_in_the_store(deployment, good):
    (shared,) = deployment.dag({})

    (run,) = deployment.dag({}, DVC_CACHE_DIR="none")

    assert run["state"] == "success"
    assert set(outcomes(run)) <= REUSED
    assert run["returned"]["dvc_push"]["pushed"] == 0
    for stage in STAGES:
        assert run["returned"][f"pipeline.{stage}"]["lock"] == shared["returned"][f"pipeline.{stage}"]["lock"]
    verdict, of_shared = run["returned"]["promote_model"], shared["returned"]["promote_model"]
    for fact in ("version", "mlflow_run", "alias"):
        assert verdict[fact] == of_shared[fact]


def test_workers_without_a_shared_cache_do_what_others_do(deployment, good):
    _, new, again = deployment.dag({}, *[{"conf": {"split.test_size": 0.3}}] * 2, DVC_CACHE_DIR="none")

    assert new["state"] == again["state"] == "success"
    assert outcomes(new)[0] in REUSED
    assert outcomes(new)[1:] == ["executed"] * 2
    assert reason(new, "preprocess") == "split.test_size 0.2 -> 0.3"
    assert outcomes(again) == ["unchanged"] * 3
    assert again["returned"]["pipeline.preprocess"]["executed_in"] == new["run_id"]
    assert md5(new, RAW) == md5(good, RAW)


def test_an_object_that_is_corrupted_in_the_store_is_put_right(deployment, good):
    key = stored(md5(good, MODEL))
    before = deployment.objects()
    body = deployment.stored(key)
    deployment.s3.put_object(Bucket=deployment.bucket, Key=key, Body=body[:-1] + b"\x00")
    assert deployment.objects()[key] != before[key]

    (run,) = deployment.dag({})

    assert run["state"] == "success"
    assert set(outcomes(run)) <= REUSED
    assert run["returned"]["dvc_push"]["pushed"] == 1
    assert deployment.objects()[key] == before[key]


def test_an_object_that_is_gone_from_the_cache_comes_from_the_store(deployment, good):
    (before,) = deployment.dag({})
    file = cached(deployment, md5(before, MODEL))
    content = file.read_bytes()
    file.unlink()

    (run,) = deployment.dag({})

    assert run["state"] == "success"
    assert outcomes(run) == ["unchanged"] * 3
    if not file.exists():  # nothing needed it: for the tests after this one, it is put back
        file.write_bytes(content)


def test_an_object_that_is_gone_from_both_is_made_again(deployment, good):
    oid = md5(good, MODEL)
    deployment.dag({})  # reasons compare with the run before
    cached(deployment, oid).unlink()
    deployment.s3.delete_object(Bucket=deployment.bucket, Key=stored(oid))

    (run,) = deployment.dag({})

    assert run["state"] == "success"
    assert (set(outcomes(run)[:2]) <= REUSED, outcomes(run)[2]) == (True, "executed")
    assert reason(run, "train_and_evaluate") == f"{MODEL} of the earlier result: missing or corrupted"
    assert stored(md5(run, MODEL)) in deployment.objects()


def test_an_input_that_a_bad_disk_changed_is_found_before_it_is_read_and_its_stage_runs_again(deployment, good):
    oid = md5(good, RAW)
    overwrite(cached(deployment, oid))
    deployment.s3.delete_object(Bucket=deployment.bucket, Key=stored(oid))

    (run,) = deployment.dag({"conf": {"split.random_state": 7}})

    assert run["state"] == "success"
    assert (outcomes(run)[0] in REUSED, outcomes(run)[1:]) == (True, ["executed"] * 2)
    assert md5(run, RAW) == oid
    assert stored(oid) in deployment.objects()


def test_a_training_whose_mlflow_run_was_deleted_runs_again(deployment, good):
    (before,) = deployment.dag({})
    old = before["returned"]["record_lineage"]["mlflow_run"]["run_id"]
    deployment.mlflow.delete_run(old)

    run, after = deployment.dag({}, {})

    assert run["state"] == after["state"] == "success"
    assert outcomes(run) == ["unchanged", "unchanged", "executed"]
    assert reason(run, "train_and_evaluate") == f"MLflow run {old} of the earlier result was deleted"
    new = run["returned"]["record_lineage"]["mlflow_run"]["run_id"]
    assert new != old
    assert outcomes(after) == ["unchanged"] * 3
    assert after["returned"]["record_lineage"]["mlflow_run"]["run_id"] == new


def test_a_forced_run_executes_every_stage_and_says_whether_it_reproduced(deployment, good):
    _, forced = deployment.dag({}, {"conf": {"force": True}})  # reasons compare with the run before

    assert forced["state"] == "success"
    assert outcomes(forced) == ["executed"] * 3
    for stage in ("get_data", "preprocess"):
        assert reason(forced, stage) == "forced by this run; reproduced: all outputs are the same"
    # Each training has an MLflow run of its own; the model is the same.
    assert reason(forced, "train_and_evaluate") == "forced by this run; not reproduced: reports/mlflow_run.json"
    assert md5(forced, MODEL) == md5(good, MODEL)
    with pytest.raises(AirflowCallError, match="Invalid input for param force"):  # Airflow's own word, before any task
        deployment.dag({"conf": {"force": "yes"}})
