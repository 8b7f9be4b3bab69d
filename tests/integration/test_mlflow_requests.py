"""The same questions to MLflow's server, by one request each, and to a plain database, by MLflow's client."""

import os

import mlflow
import pytest

from include.mlflow_client import CHAMPION
from include.mlflow_requests import (
    aliases_of_version,
    champion_version,
    deleted_run,
    run_of_version,
    run_stage,
    server_version,
    tags_of_model,
)
from include.settings import RuntimeSettings

NAME = "Ünusual & other?"


@pytest.fixture(params=["server", "database"])
def runtime(request, tmp_path, monkeypatch):
    """Settings for a server, and for a database without one."""
    before = mlflow.get_tracking_uri(), dict(os.environ)
    if request.param == "server":
        env = request.getfixturevalue("services")["env"]
        found = RuntimeSettings.model_validate({name.lower(): value for name, value in env.items()})
    else:
        found = RuntimeSettings(mlflow_tracking_uri=f"sqlite:///{tmp_path}/mlflow.db")
    monkeypatch.chdir(tmp_path)  # where MLflow would make a folder for the artifacts of a database
    for name, value in found.tracking_environment().items():
        monkeypatch.setenv(name, value)
    mlflow.set_tracking_uri(found.mlflow_tracking_uri)
    yield found
    mlflow.set_tracking_uri(before[0])
    os.environ.clear()
    os.environ.update(before[1])


@pytest.mark.filterwarnings("ignore:The ``noload`` loader")  # of MLflow's own tables
def test_each_is_answered_also_for_what_was_deleted_or_never_was(runtime):
    client = mlflow.MlflowClient()
    kept, binned = (client.create_run(client.create_experiment(f"{NAME} {one}")).info.run_id for one in "ab")
    client.create_registered_model(NAME, {"colour": "blue"})
    for run in (kept, binned, kept):
        client.create_model_version(NAME, f"runs:/{run}/model", run_id=run)
    client.set_registered_model_alias(NAME, CHAMPION, "2")
    client.delete_run(binned)
    client.delete_model_version(NAME, "3")

    assert [run_stage(runtime, one) for one in (kept, binned, "0" * 32)] == ["active", "deleted", None]
    assert [deleted_run(runtime, one) for one in (kept, binned, "0" * 32)] == [False, True, True]
    assert [run_of_version(runtime, NAME, one) for one in ("1", "2", "3", "4")] == [kept, binned, None, None]
    assert [aliases_of_version(runtime, NAME, one) for one in ("1", "2", "3")] == [[], [CHAMPION], []]
    assert [champion_version(runtime, one) for one in (NAME, "no such model")] == ["2", None]
    assert [tags_of_model(runtime, one) for one in (NAME, "no such model")] == [{"colour": "blue"}, {}]
    assert server_version(runtime) == mlflow.__version__
