"""The MLflow run of a training, and its experiment, with a real MLflow."""

import tempfile
from pathlib import Path

import mlflow
import pytest

from include.settings import RuntimeSettings
from include.settings.config_file import load_config
from include.stages import tracking

KIND, MACHINE_LEARNING = "mlflow.experimentKind", "custom_model_development"
TASK = {"DAG_ID": "d", "DAG_RUN_ID": "scheduled__2026-11-27T00:00:00+00:00", "TASK_ID": "t", "TRY_NUMBER": "2"}


@pytest.fixture(scope="module")
def deployment(make_deployment):
    return make_deployment("tracking")


@pytest.fixture
def tracked(deployment, monkeypatch):
    """Opens and ends an MLflow run, as the stage does."""
    config = load_config(deployment.project)
    runtime = RuntimeSettings.model_validate({name.lower(): value for name, value in deployment.env.items()})
    for name, value in runtime.tracking_environment().items():
        monkeypatch.setenv(name, value)  # what the stage sets is unset after the test
    mlflow.set_tracking_uri(runtime.mlflow_tracking_uri)

    def tracked(work=lambda: None):
        with tracking.run(config, runtime) as run:
            work()
        return deployment.mlflow.get_run(run.identity["run_id"]), run.identity["experiment_id"]

    return tracked


def test_in_a_task_the_run_has_the_name_of_the_airflow_run(tracked, monkeypatch):
    for name, value in TASK.items():
        monkeypatch.setenv(f"AIRFLOW_CTX_{name}", value)

    run, _ = tracked()

    assert run.info.run_name == TASK["DAG_RUN_ID"]
    assert run.data.tags["airflow.try_number"] == "2"


def test_in_a_task_temporary_files_go_with_the_workspace(tracked, monkeypatch, tmp_path):
    for name, value in TASK.items():
        monkeypatch.setenv(f"AIRFLOW_CTX_{name}", value)
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".dvc").mkdir()
    seen, before = [], tempfile.gettempdir()

    tracked(lambda: seen.append(tempfile.gettempdir()))

    assert seen == [str(tmp_path / ".dvc")]
    assert tempfile.gettempdir() == before


def test_outside_airflow_the_run_has_the_name_that_mlflow_gives_it(tracked, monkeypatch):
    for name in TASK:
        monkeypatch.delenv(f"AIRFLOW_CTX_{name}", raising=False)

    run, _ = tracked()

    assert run.info.run_name
    assert "scheduled__" not in run.info.run_name


def test_the_experiment_opens_as_machine_learning_unless_a_user_wants_another_kind(deployment, tracked):
    def kind() -> str:
        return deployment.mlflow.get_experiment(experiment_id).tags[KIND]

    _, experiment_id = tracked()
    assert kind() == MACHINE_LEARNING

    deployment.mlflow.delete_experiment_tag(experiment_id, KIND)  # as one that was made before
    tracked()
    assert kind() == MACHINE_LEARNING

    deployment.mlflow.set_experiment_tag(experiment_id, KIND, "genai_development")
    tracked()
    assert kind() == "genai_development"


def test_what_the_ui_calls_the_kind_is_what_we_set(deployment):
    """MLflow has no name for it in Python: its pages do."""
    pages = Path(mlflow.__file__).parent / "server" / "js" / "build" / "static" / "js"

    assert any(MACHINE_LEARNING in page.read_text() and KIND in page.read_text() for page in pages.glob("*.js"))
