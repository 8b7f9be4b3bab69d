"""What is said of a model version whose MLflow run was deleted."""

import re
from types import SimpleNamespace
from unittest.mock import MagicMock

import pytest
from airflow.sdk import Asset

from include.registry import lost_run as lost_run_module
from include.registry.history import ChampionChange
from include.registry.lost_run import lost_run
from include.settings import RuntimeSettings
from ml_operators import roll_back


def mlflow_has(monkeypatch: pytest.MonkeyPatch, run_id: str | None, stage: str | None) -> None:
    """A version 1 of that MLflow run, and no other."""
    monkeypatch.setattr(
        lost_run_module, "run_of_version", lambda runtime, name, version: run_id if version == "1" else None
    )
    monkeypatch.setattr(lost_run_module, "run_stage", lambda runtime, asked: stage)


@pytest.mark.parametrize(("run_id", "stage", "version"), [("a", "active", "1"), (None, None, "1"), ("a", None, "2")])
def test_a_run_that_is_there_or_that_a_version_never_had_is_not_lost(monkeypatch, run_id, stage, version):
    mlflow_has(monkeypatch, run_id, stage)

    assert lost_run(RuntimeSettings(), "m", version) is None


@pytest.mark.parametrize(
    ("stage", "said"),
    [
        ("deleted", "is in MLflow's bin: .* Restore it: mlflow runs restore --run-id a$"),
        (None, "was deleted for good, .* load models:/m/1$"),
    ],
)
def test_one_that_was_deleted_is_restored_only_while_it_is_in_the_bin(monkeypatch, stage, said):
    mlflow_has(monkeypatch, "a", stage)

    lost = lost_run(RuntimeSettings(), "m", "1")

    assert lost is not None
    assert re.match(rf"the MLflow run of version 1 of m {said}", str(lost))


def test_the_task_that_rolls_back_warns_in_its_log(monkeypatch):
    mlflow_has(monkeypatch, "a", "deleted")
    change = ChampionChange.now("roll-back", "1", "2", "bad", "anna", "t")
    champion = SimpleNamespace(name="m", roll_back=lambda *_: change)
    version = SimpleNamespace(run_id="a", tags={})
    mlflow = SimpleNamespace(get_model_version=lambda name, version_: version)
    monkeypatch.setattr(roll_back, "connect", lambda runtime: mlflow)
    monkeypatch.setattr(roll_back, "runtime_settings", RuntimeSettings)
    monkeypatch.setattr(roll_back, "Champion", lambda *_: champion)
    monkeypatch.setattr(roll_back, "emit", lambda *_: None)
    log = MagicMock()
    monkeypatch.setattr(roll_back.RollBackOperator, "log", log)
    task = roll_back.RollBackOperator(task_id="roll_back", asset=Asset("m", uri="s3://m"))
    context = {
        "ti": SimpleNamespace(dag_id="d", run_id="r", task_id="roll_back"),
        "dag_run": SimpleNamespace(triggering_user_name="anna"),
        "params": {"version": "previous", "reason": "bad"},
    }

    assert task.execute(context)["version"] == "1"

    said = [str(call.args[-1]) for call in log.warning.call_args_list]
    assert any("Restore it: mlflow runs restore --run-id a" in one for one in said)
