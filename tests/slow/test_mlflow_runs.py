"""What becomes of the MLflow runs of trainings that were killed before their result counted."""

from types import SimpleNamespace

import pytest

from include.lineage.lineage_store import LineageStore
from include.lineage.mlflow_results import MlflowResults
from include.lineage.run_keys import RunKey
from include.mlflow_client import WITHOUT_RESULT
from include.settings import RuntimeSettings
from include.settings.config_file import load_config
from tests.support.dag_runs import outcomes, output

TRAIN = "pipeline.train_and_evaluate"
# After the MLflow run has ended, and before DVC takes over what the stage wrote.
KILL = """
    import os, signal
    C = config.model.settings.C
    if C == 9.0 or (C == 7.0 and os.environ["AIRFLOW_CTX_TRY_NUMBER"] == "1"):
        os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture(scope="module")
def deployment(make_deployment):
    deployment = make_deployment("mlflow-runs")
    file = deployment.project / "include" / "stages" / "train_and_evaluate.py"
    text = file.read_text()
    last = "        write_json(config.paths.mlflow_run, tracked.identity)\n"
    assert text.count(last) == 1
    file.write_text(text.replace(last, last + KILL))
    return deployment


@pytest.fixture(scope="module")
def runs(deployment):
    names = {"first": {}, "killed_once": {"conf": {"model.C": 7.0}}, "killed": {"conf": {"model.C": 9.0}}, "back": {}}
    return dict(zip(names, deployment.dag(*names.values()), strict=True))


@pytest.fixture(scope="module")
def logged(deployment, runs):
    """The MLflow runs of each run of the DAG, in the order of the tries."""
    found = sorted(deployment.mlflow_runs(), key=lambda run: run.info.start_time)
    return {
        name: [one for one in found if one.data.tags["airflow.run_id"] == run["run_id"]] for name, run in runs.items()
    }


def test_the_runs_ended_as_they_were_to(runs):
    assert [run["state"] for run in runs.values()] == ["success", "success", "failed", "success"]
    assert outcomes(runs["back"])["train_and_evaluate"] == "restored"


def test_an_mlflow_run_has_the_name_of_its_airflow_run(runs, logged):
    names = {name: [one.info.run_name for one in found] for name, found in logged.items()}

    counts = {"first": 1, "killed_once": 2, "killed": 2, "back": 0}
    assert names == {name: [runs[name]["run_id"]] * count for name, count in counts.items()}


def test_a_killed_try_is_marked_when_its_run_has_come_to_another_result(runs, logged):
    killed, kept = logged["killed_once"]

    assert runs["killed_once"]["returned"]["register_model"]["run_id"] == kept.info.run_id
    assert (kept.info.status, kept.data.tags.get(WITHOUT_RESULT)) == ("FINISHED", None)
    assert killed.info.status == "KILLED"
    assert killed.info.end_time < kept.info.start_time
    assert killed.data.tags[WITHOUT_RESULT] == f"task {TRAIN} made MLflow run {kept.info.run_id} in another try"
    assert killed.info.lifecycle_stage == "active"


def test_what_a_failed_run_left_is_marked_by_the_next_one_and_what_has_a_result_is_not(logged):
    assert [one.info.status for one in logged["killed"]] == ["KILLED", "KILLED"]
    assert {one.data.tags[WITHOUT_RESULT] for one in logged["killed"]} == {f"task {TRAIN} failed"}
    (first,) = logged["first"]
    assert (first.info.status, first.data.tags.get(WITHOUT_RESULT)) == ("FINISHED", None)


@pytest.mark.parametrize("with_cache", [True, False])
def test_a_result_that_dvc_can_restore_is_a_result_though_nothing_else_names_it(deployment, runs, logged, with_cache):
    settings = {name.lower(): value for name, value in deployment.env.items()}
    config, runtime = load_config(deployment.project), RuntimeSettings.model_validate(settings)
    lineage = LineageStore(config, runtime)
    manifest = lineage.read(RunKey("ml_pipeline", runs["first"]["run_id"]))
    cache_dir = runtime.dvc_cache_dir if with_cache else None
    nameless = SimpleNamespace(of_mlflow_run=lambda mlflow_run_id: [])
    client = SimpleNamespace(
        search_model_versions=lambda *_, **__: [],
        get_run=deployment.mlflow.get_run,
        get_experiment=deployment.mlflow.get_experiment,
    )
    results = MlflowResults(client, nameless, lineage.objects_of(manifest), cache_dir, config.paths.mlflow_run)
    (first,), (killed, kept) = logged["first"], logged["killed_once"]

    assert list(results._md5s(first.info.run_id)) == [
        output(runs["first"], "train_and_evaluate", config.paths.mlflow_run)["md5"]
    ]
    assert [results.has(run.info.run_id) for run in (first, kept, killed)] == [True, True, False]
