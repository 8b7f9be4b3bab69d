"""The DVC project by hand: what the README promises of dvc repro, metrics, plots, push and status."""

import functools
import hashlib
import json
import re

import joblib
import pytest

from include.settings.config_file import parse_yaml

STAGES = ("get_data", "preprocess", "train_and_evaluate")
TITLES = (
    "Calibration per class (test; on the diagonal, probabilities are true)",
    "Confusion matrix (test)",
    "ROC per class (test)",
    "Features (coefficients of the standardised ones, or permutation importances)",
)


@pytest.fixture(scope="module")
def deployment(make_deployment):
    deployment = make_deployment("by-hand")
    deployment.dvc("repro")
    return deployment


def files(deployment) -> dict[str, str]:
    paths = [path for folder in ("data", "models", "reports") for path in (deployment.project / folder).rglob("*.*")]
    return {str(path.relative_to(deployment.project)): hashlib.md5(path.read_bytes()).hexdigest() for path in paths}


def plots(deployment) -> dict[str, dict]:
    """The plots on the page that `dvc plots` wrote last, by title."""
    page = (deployment.project / "dvc_plots" / "index.html").read_text()
    found = [json.JSONDecoder().raw_decode(page, place.end())[0] for place in re.finditer(r"var spec = ", page)]
    return {plot["title"]["text"]: plot for plot in found}


def revisions(plot: dict) -> list[str]:
    return sorted({row["rev"] for row in plot["data"]["values"]})


def test_repro_makes_the_model_the_metrics_and_the_lock(deployment):
    scores = json.loads((deployment.project / "reports" / "metrics.json").read_text())
    report = json.loads((deployment.project / "reports" / "classification_report.json").read_text())
    model = joblib.load(deployment.project / "models" / "log_reg_model.pkl")

    assert scores["test"]["accuracy"] >= 0.9
    assert scores["train"]["accuracy"] >= 0.9
    assert set(report["classes"]) == {"setosa", "versicolor", "virginica"}
    assert report["accuracy"] == scores["test"]["accuracy"]
    assert model.n_features_in_ == 4
    assert list(parse_yaml((deployment.project / "dvc.lock").read_text(), "dvc.lock")["stages"]) == list(STAGES)


def test_status_is_clean_and_a_second_repro_runs_nothing(deployment):
    assert json.loads(deployment.dvc("status", "--json")) == {}

    before = len(deployment.mlflow_runs())
    said = deployment.dvc("repro")

    assert [f"Stage '{stage}' didn't change, skipping" in said for stage in STAGES] == [True] * 3
    assert len(deployment.mlflow_runs()) == before > 0


def test_metrics_and_plots_show(deployment):
    metrics = json.loads(deployment.dvc("metrics", "show", "--json"))
    page = deployment.dvc("plots", "show").strip()

    assert metrics[""]["data"]["reports/metrics.json"]["data"]["test"]["accuracy"] >= 0.9
    assert page.startswith("file://")
    assert {title: revisions(plot) for title, plot in plots(deployment).items()} == {
        title: ["workspace"] for title in TITLES
    }


def test_push_puts_every_output_into_the_store_and_needs_no_secret_on_disk(deployment):
    deployment.dvc("push")

    stages = parse_yaml((deployment.project / "dvc.lock").read_text(), "dvc.lock")["stages"].values()
    md5s = {out["md5"] for stage in stages for out in stage["outs"]}
    assert {f"dvc/files/md5/{md5[:2]}/{md5[2:]}" for md5 in md5s} <= set(deployment.objects())
    config = (deployment.project / ".dvc" / "config.local").read_text() + (
        deployment.project / ".dvc" / "config"
    ).read_text()
    assert deployment.env["AWS_SECRET_ACCESS_KEY"] not in config
    assert deployment.env["AWS_ACCESS_KEY_ID"] not in config


def test_the_same_inputs_give_the_same_bytes(deployment):
    before = files(deployment)

    deployment.dvc("repro", "--force", "--no-run-cache")

    after = files(deployment)
    assert {path for path in before if before[path] != after[path]} == {"reports/mlflow_run.json"}


def test_the_dag_uses_what_was_made_by_hand(deployment):
    before = len(deployment.mlflow_runs())

    (run,) = deployment.dag({})

    outcomes = {stage: run["returned"][f"pipeline.{stage}"]["outcome"] for stage in STAGES}
    assert outcomes == dict.fromkeys(STAGES, "restored")
    assert len(deployment.mlflow_runs()) == before


# Values that no stage may notice that does not declare them
OTHER_VALUES = {
    "data.max_missing_share": 0.4,
    "data.drop": ["sepal_width_cm"],
    "data.keep": ["petal_width_cm"],
    "data.categorical": ["sepal_length_cm"],
    "data.csv.separator": ";",
    "split.test_size": 0.4,
    "split.random_state": 7,
    "model.logistic_regression.C": 9.0,
    "model.random_forest.n_estimators": 3,
    "registry.minimum": 0.1,
    "storage.bucket": "another-bucket",
    "schedule.catchup": True,
}
REPORTS = (
    "metrics.json",
    "classification_report.json",
    "test_predictions.parquet",
    "confusion_matrix.csv",
    "roc_curve.csv",
    "features.csv",
    "calibration.csv",
)
OUTPUTS = {
    "get_data": ["data/raw/dataset.parquet"],
    "preprocess": ["data/processed/train.parquet", "data/processed/test.parquet", "data/processed/columns.json"],
    "train_and_evaluate": ["models/log_reg_model.pkl", *(f"reports/{name}" for name in REPORTS)],
}


def test_each_param_is_declared_on_exactly_the_stages_that_use_it(deployment):
    """A stage that reads a value it does not declare would not be run again when the value changes.

    Each stage is run with a configuration that has only its declared params (and, to be valid, default values for
    the rest): if it used anything else, it would now make something else.
    """
    declared = {
        stage: {
            key.replace("${model.kind}", "logistic_regression")
            for values in definition["params"]
            for keys in values.values()
            for key in keys
        }
        for stage, definition in parse_yaml((deployment.project / "dvc.yaml").read_text(), "dvc.yaml")["stages"].items()
    }
    file = deployment.project / "config" / "config.yaml"
    text = file.read_text()
    document = parse_yaml(text, file)
    try:
        for stage, paths in OUTPUTS.items():
            before = {path: (deployment.project / path).read_bytes() for path in paths}
            changed = json.loads(json.dumps(document))
            for key, value in OTHER_VALUES.items():
                *sections, name = key.split(".")
                parents = {".".join(key.split(".")[:depth]) for depth in range(1, key.count(".") + 2)}
                if not parents & declared[stage]:
                    functools.reduce(dict.__getitem__, sections, changed)[name] = value
            file.write_text(json.dumps(changed))
            done = deployment.python("-m", f"include.stages.{stage}")
            assert done.returncode == 0, done.stderr
            assert {path: (deployment.project / path).read_bytes() for path in paths} == before
    finally:
        file.write_text(text)
        deployment.dvc("checkout", "--force")  # the training named another MLflow run


def test_stages_that_do_not_track_import_no_mlflow(deployment):
    code = (
        "import sys, runpy; runpy.run_module('include.stages.{}', run_name='__main__'); print('mlflow' in sys.modules)"
    )

    for stage in ("get_data", "preprocess"):
        assert deployment.python("-c", code.format(stage)).stdout.splitlines()[-1] == "False"


def test_plots_diff_shows_two_versions_of_the_model_side_by_side(deployment):
    git = ("git", "-c", "user.name=test", "-c", "user.email=test@localhost")
    deployment.dvc("repro")
    for arguments in (("add", "--force", "dvc.lock"), ("commit", "--quiet", "--message", "C is 1")):
        done = deployment.run(*git, *arguments)
        assert done.returncode == 0, done.stderr
    deployment.edit_config("C: 1.0", "C: 0.01")
    try:
        deployment.dvc("repro")
        deployment.dvc("plots", "diff", "HEAD")
        shown = plots(deployment)
    finally:
        deployment.edit_config("C: 0.01", "C: 1.0")
        deployment.dvc("repro")

    both = ["HEAD", "workspace"]
    assert {title: revisions(plot) for title, plot in shown.items()} == dict.fromkeys(TITLES, both)
    *_, roc, weights = (shown[title] for title in TITLES)
    assert (roc["encoding"]["color"]["field"], roc["encoding"]["strokeDash"]["field"]) == ("class", "rev")
    assert weights["encoding"]["color"]["field"] == "rev"
    assert "zero" not in weights["encoding"]["x"].get("scale", {})  # bars begin at 0
    largest = {
        rev: max(abs(float(row["weight"])) for row in weights["data"]["values"] if row["rev"] == rev)
        for rev in revisions(weights)
    }
    assert largest["workspace"] < largest["HEAD"]
