"""What a run of ml_pipeline returned, as `tests.support.in_airflow.run_dag` gives it."""

from typing import Any

STAGES = ("get_data", "preprocess", "train_and_evaluate")


def outcomes(run: dict[str, Any]) -> dict[str, str]:
    return {stage: run["returned"][f"pipeline.{stage}"]["outcome"] for stage in STAGES}


def reason(run: dict[str, Any], stage: str) -> str:
    return run["returned"][f"pipeline.{stage}"]["reason"]


def output(run: dict[str, Any], stage: str, path: str) -> dict[str, Any]:
    (entry,) = [
        out for out in run["returned"][f"pipeline.{stage}"]["lock"]["dvc.lock"][stage]["outs"] if out["path"] == path
    ]
    return entry
