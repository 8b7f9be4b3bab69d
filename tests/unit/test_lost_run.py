"""What is said of a model version whose MLflow run was deleted."""

import re
from types import SimpleNamespace

import pytest
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import RESOURCE_DOES_NOT_EXIST

from include.registry.lost_run import lost_run


def client(run_id: str | None, stage: str | None) -> SimpleNamespace:
    """MLflow with a version 1 of that run."""

    def get_run(asked: str) -> SimpleNamespace:
        if stage is None:
            raise MlflowException("not found", RESOURCE_DOES_NOT_EXIST)
        return SimpleNamespace(info=SimpleNamespace(lifecycle_stage=stage))

    def get_model_version(name: str, version: str) -> SimpleNamespace:
        if version != "1":
            raise MlflowException("not found", RESOURCE_DOES_NOT_EXIST)
        return SimpleNamespace(run_id=run_id)

    return SimpleNamespace(get_run=get_run, get_model_version=get_model_version)


@pytest.mark.parametrize(
    ("run_id", "stage", "version"), [("a", "active", "1"), ("", "active", "1"), (None, None, "1"), ("a", None, "2")]
)
def test_a_run_that_is_there_or_that_a_version_never_had_is_not_lost(run_id, stage, version):
    assert lost_run(client(run_id, stage), "m", version) is None


@pytest.mark.parametrize(
    ("stage", "said"),
    [
        ("deleted", "is in MLflow's bin: .* Restore it: mlflow runs restore --run-id a$"),
        (None, "was deleted for good, .* load models:/m/1$"),
    ],
)
def test_one_that_was_deleted_is_restored_only_while_it_is_in_the_bin(stage, said):
    lost = lost_run(client("a", stage), "m", "1")

    assert lost is not None
    assert re.match(rf"the MLflow run of version 1 of m {said}", str(lost))
