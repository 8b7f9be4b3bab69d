"""The DAG from end to end, against a real store, MLflow and Airflow: what runs, what does not, what is left behind."""

import json
import re
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.support.dag_runs import STAGES, outcomes, output, reason

OTHER_MODEL = "model-dag-run-other"


@pytest.fixture(scope="module")
def deployment(make_deployment):
    deployment = make_deployment("dag-run")
    deployment.env["STORE_CONSOLE_URL"] = "http://console.example"  # the store itself has none, and so no buttons
    return deployment


@pytest.fixture(scope="module")
def runs(deployment):
    """One run after another, as a user would try it."""
    names = {
        "first": {},
        "second": {},
        "no_date": {"logical_date": None},
        "other_test_size": {"conf": {"split": {"test_size": 0.3}}},
        "other_C": {"conf": {"model.C": 2.5}},
        "back": {},
        "other_bucket": {"conf": {"storage": {"bucket": "ml-dag-run-other"}}},
        "high_minimum": {"conf": {"registry.minimum": 1.0, "model.C": 3.5}},
        "other_model": {"conf": {"registry.model_name": OTHER_MODEL}},
        "other_model_again": {"conf": {"registry.model_name": OTHER_MODEL, "model.C": 2.5}},
    }
    return dict(zip(names, deployment.dag(*names.values()), strict=True))


@pytest.fixture(scope="module")
def left(runs, deployment):
    """What the runs left in MLflow and in the store."""
    first = runs["first"]["returned"]["register_model"]["run_id"]
    return {
        "aliases": dict(deployment.mlflow.get_registered_model(deployment.model).aliases),
        "versions": deployment.mlflow.search_model_versions(f"name = '{deployment.model}'"),
        "mlflow_runs": deployment.mlflow_runs(),
        "lineage": {key.split("/")[3] for key in deployment.objects() if key.startswith("lineage/runs/ml_pipeline/")},
        "lineage_on_first": [item.path for item in deployment.mlflow.list_artifacts(first, "lineage/ml_pipeline")],
    }


def test_every_run_succeeds(runs):
    assert {name: run["state"] for name, run in runs.items()} == dict.fromkeys(runs, "success")


def test_the_first_run_executes_every_stage(runs):
    assert outcomes(runs["first"]) == dict.fromkeys(STAGES, "executed")
    assert set(runs["first"]["tasks"].values()) == {"success"}


def test_the_second_run_executes_no_stage_and_says_why(runs):
    assert outcomes(runs["second"]) == dict.fromkeys(STAGES, "unchanged")
    assert {runs["second"]["tasks"][f"pipeline.{stage}"] for stage in STAGES} == {"skipped"}
    said = f"same inputs as in the last run; executed by {runs['first']['run_id']} at "
    assert reason(runs["second"], "preprocess").startswith(said)


def test_a_run_without_a_logical_date_does_the_same(runs):
    assert outcomes(runs["no_date"]) == dict.fromkeys(STAGES, "unchanged")


def test_another_test_size_runs_preprocess_and_training_again(runs):
    assert outcomes(runs["other_test_size"]) == {
        "get_data": "unchanged",
        "preprocess": "executed",
        "train_and_evaluate": "executed",
    }
    assert reason(runs["other_test_size"], "preprocess") == "split.test_size 0.2 -> 0.3"
    assert "data/processed/train.parquet changed upstream" in reason(runs["other_test_size"], "train_and_evaluate")


def test_another_c_runs_the_training_alone(runs):
    found = outcomes(runs["other_C"])

    assert found["train_and_evaluate"] == "executed"
    assert "executed" not in (found["get_data"], found["preprocess"])
    assert "model.logistic_regression.C 1.0 -> 2.5" in reason(runs["other_C"], "train_and_evaluate")


def test_values_seen_before_are_restored(runs):
    assert outcomes(runs["back"])["train_and_evaluate"] == "restored"
    assert reason(runs["back"], "train_and_evaluate").startswith(
        "model.logistic_regression.C 2.5 -> 1.0; executed by " + runs["first"]["run_id"]
    )
    first, back = (runs[name]["returned"]["pipeline.train_and_evaluate"] for name in ("first", "back"))
    assert first["lock"] == back["lock"]


def test_another_bucket_runs_no_stage_and_gets_all_objects(runs, deployment):
    assert "executed" not in outcomes(runs["other_bucket"]).values()
    first, other = runs["first"]["returned"]["dvc_push"], runs["other_bucket"]["returned"]["dvc_push"]
    assert (other["objects"], other["bytes"]) == (first["objects"], first["bytes"])
    data = {key for key in deployment.objects() if key.startswith("dvc/files/")}
    assert {key for key in deployment.objects("ml-dag-run-other") if key.startswith("dvc/files/")} < data


def test_one_mlflow_run_and_one_version_per_training(runs, left):
    trained = {name for name, run in runs.items() if outcomes(run)["train_and_evaluate"] == "executed"}

    assert trained == {"first", "other_test_size", "other_C", "high_minimum"}
    assert len(left["mlflow_runs"]) == len(left["versions"]) == len(trained)
    assert {version.run_id for version in left["versions"]} == {run.info.run_id for run in left["mlflow_runs"]}
    first, second = (runs[name]["returned"]["register_model"] for name in ("first", "second"))
    assert first["version"] == second["version"]


def test_the_mlflow_run_has_all_that_is_to_be_known(runs, deployment):
    identity = runs["first"]["returned"]["register_model"]
    run = deployment.mlflow.get_run(identity["run_id"])

    assert run.info.status == "FINISHED"
    assert run.data.params["model.C"] == "1.0"
    assert run.data.params["model.solver"] == "lbfgs"
    assert run.data.params["split.test_size"] == "0.2"
    assert run.data.metrics["test_accuracy"] >= 0.9
    assert {name.partition("_")[0] for name in run.data.metrics if not name.startswith("gate.")} == {"train", "test"}
    assert {"train_brier", "test_brier"} <= run.data.metrics.keys()
    artifacts = {item.path for item in deployment.mlflow.list_artifacts(run.info.run_id)}
    pictures = {f"{name}.png" for name in ("confusion_matrix", "roc_curve", "features", "calibration")}
    assert {"classification_report.json", *pictures} <= artifacts
    assert sorted(used.tags[0].value for used in run.inputs.dataset_inputs) == ["test", "training"]  # in any order
    assert run.data.tags["airflow.run_id"] == runs["first"]["run_id"]
    assert len(run.data.tags["lock_sha256"]) == 64
    assert run.data.tags["md5.model"] == output(runs["first"], "train_and_evaluate", "models/log_reg_model.pkl")["md5"]
    model = deployment.mlflow.get_logged_model(run.outputs.model_outputs[0].model_id)
    assert model.status == "READY"
    trained = {name: value for name, value in run.data.metrics.items() if not name.startswith("gate.")}
    assert {metric.key: metric.value for metric in model.metrics} == trained


def test_the_registered_model_loads_and_has_a_signature_with_inputs_and_outputs(runs, deployment, monkeypatch):
    import mlflow
    import pandas as pd

    monkeypatch.setenv("MLFLOW_TRACKING_URI", deployment.env["MLFLOW_TRACKING_URI"])
    mlflow.set_tracking_uri(deployment.env["MLFLOW_TRACKING_URI"])  # it wins over the variable
    version = runs["first"]["returned"]["register_model"]["version"]
    model = mlflow.pyfunc.load_model(f"models:/{deployment.model}/{version}")

    assert len(model.metadata.signature.inputs) == 4
    assert model.metadata.signature.outputs is not None
    flower = pd.DataFrame([[5.1, 3.5, 1.4, 0.2]], columns=model.metadata.signature.inputs.input_names())
    assert list(model.predict(flower)) == ["setosa"]


def test_the_version_is_tagged_with_what_it_came_from(runs, deployment):
    registered = runs["first"]["returned"]["register_model"]
    version = deployment.mlflow.get_model_version(deployment.model, registered["version"])

    assert version.tags["data.source"] == "sklearn:iris"
    assert version.tags["airflow.run_id"] == runs["first"]["run_id"]
    assert len(version.tags["git_sha"]) >= 40


def test_the_first_model_that_meets_the_minimum_is_champion(runs):
    verdict = runs["first"]["returned"]["promote_model"]

    assert (verdict["passed"], verdict["alias"], verdict["compared_with"]) == (True, "champion", None)
    assert [check["rule"] for check in verdict["checks"]] == ["at least 0.9"]


def test_a_model_that_does_not_meet_the_minimum_is_challenger(runs, left):
    verdict = runs["high_minimum"]["returned"]["promote_model"]

    assert (verdict["passed"], verdict["alias"]) == (False, "challenger")
    assert left["aliases"] == {"champion": verdict["champion"], "challenger": verdict["version"]}
    assert verdict["champion"] == runs["other_bucket"]["returned"]["promote_model"]["champion"]


def test_a_champion_is_scored_again_only_on_rows_that_it_was_not_scored_on(runs, deployment):
    again = runs["other_test_size"]["returned"]["promote_model"]
    same = runs["other_model_again"]["returned"]["promote_model"]
    md5 = output(runs["other_test_size"], "preprocess", "data/processed/test.parquet")["md5"]

    assert f"scored again on these rows (md5 {md5})" in again["note"]
    assert again["checks"][1]["champion"] is not None
    assert "scored on the same test rows" in same["note"]
    trained_first = runs["first"]["returned"]["register_model"]["run_id"]
    assert same["checks"][1]["champion"] == deployment.mlflow.get_run(trained_first).data.metrics["test_accuracy"]


def test_the_verdict_is_on_the_mlflow_run_and_in_the_store(runs, deployment):
    run = runs["high_minimum"]
    verdict = run["returned"]["promote_model"]
    tags = deployment.mlflow.get_run(verdict["mlflow_run"]["run_id"]).data.tags
    folder = f"lineage/runs/ml_pipeline/{quote(run['run_id'], safe='')}"

    assert tags["gate.passed"] == "false"
    assert tags["gate.table"] == verdict["table"]
    assert json.loads(tags["gate.checks"]) == verdict["checks"]
    stored = json.loads(deployment.stored(f"{folder}/verdict.json"))
    assert stored["checks"] == verdict["checks"]


def test_the_interval_of_the_change_is_wherever_the_verdict_is_and_so_is_what_thirty_rows_cannot_tell(runs, deployment):
    run = runs["high_minimum"]
    verdict = run["returned"]["promote_model"]
    mlflow_run = deployment.mlflow.get_run(verdict["mlflow_run"]["run_id"])
    report = deployment.stored(f"lineage/runs/ml_pipeline/{quote(run['run_id'], safe='')}/report.html").decode()
    _, accuracy, f1, _ = verdict["checks"]

    assert accuracy["rule"] == "not shown worse"
    assert accuracy["lower"] < accuracy["change"] < accuracy["upper"]
    assert {mlflow_run.data.metrics[f"gate.test_accuracy.{name}"] for name in ("change", "lower", "upper")} == {
        accuracy[name] for name in ("change", "lower", "upper")
    }
    interval = f"{accuracy['lower']:+.4f} to {accuracy['upper']:+.4f}"
    assert interval in verdict["table"]
    assert interval.replace("+", "") + " (95 %)" in report
    warning = "a difference of 0.02 (registry.tolerances.test_f1_macro) cannot be told"
    assert f1["rows"] == 30
    assert any(warning in line for line in verdict["warnings"])
    assert warning in report
    assert warning in mlflow_run.data.tags["gate.table"]


def test_the_report_is_one_file_that_needs_nothing_beside_it(runs, deployment):
    run = runs["first"]
    verdict = run["returned"]["promote_model"]
    path = verdict["report"]
    (folder,) = (Path(deployment.env["AIRFLOW_HOME"]).parent / "mlflow-artifacts").rglob(
        f"{verdict['mlflow_run']['run_id']}/artifacts"
    )

    html = (folder / path).read_text()

    key = f"lineage/runs/ml_pipeline/{quote(run['run_id'], safe='')}/report.html"
    assert html == deployment.stored(key).decode()
    assert html.count("<svg") == 4
    assert not re.search(r"""(src|href)=["'](?!#|http://127)""", re.sub(r"xlink:href", "", html))
    for fact in (
        run["run_id"],
        "at least 0.9",
        "test_accuracy",
        "model.logistic_regression.C",
        "data/processed/test.parquet",
    ):
        assert fact in html


def test_the_manifest_in_the_store_has_the_facts(runs, deployment):
    run = runs["first"]
    key = run["returned"]["record_lineage"]["key"]
    manifest = json.loads(deployment.stored(key))

    assert manifest["airflow"]["run_id"] == run["run_id"]
    assert [stage["outcome"] for stage in manifest["stages"]] == ["executed"] * 3
    assert manifest["metrics"]["test_accuracy"] >= 0.9
    assert manifest["code"]["git_sha"]
    assert manifest["config"]["model"]["logistic_regression"]["C"] == 1.0
    for stage in STAGES:
        entry = run["returned"][f"pipeline.{stage}"]["lock"]["dvc.lock"][stage]
        assert manifest["lock"]["dvc.lock"]["stages"][stage] == entry


def test_every_object_of_the_lineage_is_in_the_store_with_its_hash_as_etag(runs, deployment):
    objects = deployment.objects()
    key = runs["first"]["returned"]["record_lineage"]["key"]
    manifest = json.loads(deployment.stored(key))
    outputs = [file for file in manifest["files"] if file["role"] == "output"]

    locks = [run["lock"]["dvc.lock"] for name, run in runs["first"]["returned"].items() if name.startswith("pipeline.")]
    declared = {out["path"] for lock in locks for stage in lock.values() for out in stage["outs"]}
    assert {file["path"] for file in outputs} == declared > {"models/log_reg_model.pkl", "reports/metrics.json"}
    for file in outputs:
        assert objects[f"dvc/files/md5/{file['md5'][:2]}/{file['md5'][2:]}"] == f'"{file["md5"]}"'


def test_each_run_has_a_lineage_of_its_own(runs, left):
    in_the_other_bucket = {runs["other_bucket"]["run_id"]}
    ids = {run["run_id"] for run in runs.values()}
    of_first = runs["first"]["returned"]["register_model"]["run_id"]
    used_it = {run["run_id"] for run in runs.values() if run["returned"]["register_model"]["run_id"] == of_first}

    assert left["lineage"] == {quote(run_id, safe="") for run_id in ids - in_the_other_bucket}
    assert len(used_it) > 1
    assert {path.rpartition("/")[2] for path in left["lineage_on_first"]} == used_it


def test_links_lead_to_mlflow_and_to_the_store_also_where_the_stage_was_skipped(runs, deployment):
    identity = runs["first"]["returned"]["record_lineage"]["mlflow_run"]
    store, mlflow = f"{deployment.env['STORE_CONSOLE_URL']}/browser", deployment.env["MLFLOW_TRACKING_URI"]
    page = f"{mlflow}/#/experiments/{identity['experiment_id']}/runs/{identity['run_id']}"

    for name in ("first", "second"):
        links = {key: value for key, value in runs[name]["xcoms"].items() if "Link" in key}
        assert links["pipeline.train_and_evaluate:_link_MlflowRunLink"] == page
        assert links["record_lineage:_link_MlflowRunLink"] == page
        md5 = output(runs[name], "preprocess", "data/processed/train.parquet")["md5"]
        assert links["pipeline.preprocess:_link_ObjectLink_data/processed/train.parquet"] == (
            f"{store}/{deployment.bucket}/dvc/files/md5/{md5[:2]}/{md5[2:]}"
        )
        report = runs[name]["run_id"]  # MLflow's page wants it unquoted
        assert links["promote_model:_link_ReportLink"] == f"{page}/artifacts/lineage/ml_pipeline/{report}/report.html"
        assert links["setup_bucket:_link_StoreLink"] == f"{store}/{deployment.bucket}"
        assert links["register_model:_link_ModelVersionLink"].endswith(f"/#/models/{deployment.model}/versions/1")


def test_the_mlflow_run_leads_back_to_every_airflow_run_that_used_it(runs, deployment):
    tags = deployment.mlflow.get_run(runs["first"]["returned"]["register_model"]["run_id"]).data.tags
    base = f"{deployment.env['AIRFLOW__API__BASE_URL']}/dags/ml_pipeline/runs"

    def link(name: str) -> str:
        return f"[{runs[name]['run_id']}]({base}/{quote(runs[name]['run_id'], safe='')})"

    assert tags["airflow.url"] == f"{base}/{quote(runs['first']['run_id'], safe='')}"
    assert f"Trained by Airflow run {link('first')}" in tags["mlflow.note.content"]
    assert f"Used by Airflow run {link('second')}" in tags["mlflow.note.content"]


def test_no_secret_is_in_an_xcom(runs, deployment):
    names = ("SECRET_ACCESS_KEY", "FERNET_KEY", "JWT_SECRET")
    secrets = [value for name, value in deployment.env.items() if name.endswith(names)]

    assert len(secrets) >= 3
    for secret in secrets:
        assert secret not in json.dumps(runs)


def test_the_tasks_leave_the_checkout_and_the_temporary_folder_as_they_were(runs, deployment):
    assert deployment.run("git", "status", "--porcelain").stdout == " M config/config.yaml\n"
    assert not (deployment.project / "models").exists()
    assert list(Path(deployment.env["TMPDIR"]).glob("dvc-task-*")) == []
