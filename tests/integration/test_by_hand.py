"""The DVC project by hand: what the README promises of dvc repro, metrics, plots, push and status."""

import hashlib
import json
import re

import joblib
import pytest

from include.settings.config_file import parse_yaml

STAGES = ("get_data", "preprocess", "train_and_evaluate")
TITLES = ("Confusion matrix (test)", "ROC per class (test)", "Coefficients (of standardised features)")


@pytest.fixture(scope="module")
def site(make_site):
    site = make_site("by-hand")
    site.dvc("repro")
    return site


def files(site) -> dict[str, str]:
    paths = [path for folder in ("data", "models", "reports") for path in (site.project / folder).rglob("*.*")]
    return {str(path.relative_to(site.project)): hashlib.md5(path.read_bytes()).hexdigest() for path in paths}


def plots(site) -> dict[str, dict]:
    """The plots on the page that `dvc plots` wrote last, by title."""
    page = (site.project / "dvc_plots" / "index.html").read_text()
    found = [json.JSONDecoder().raw_decode(page, place.end())[0] for place in re.finditer(r"var spec = ", page)]
    return {plot["title"]["text"]: plot for plot in found}


def revisions(plot: dict) -> list[str]:
    return sorted({row["rev"] for row in plot["data"]["values"]})


def test_repro_makes_the_model_the_metrics_and_the_lock(site):
    report = json.loads((site.project / "reports" / "metrics.json").read_text())
    model = joblib.load(site.project / "models" / "log_reg_model.pkl")

    assert report["test"]["accuracy"] >= 0.9
    assert report["train"]["accuracy"] >= 0.9
    assert set(report["classification_report"]) >= {"setosa", "versicolor", "virginica", "macro avg"}
    assert model.n_features_in_ == 4
    assert list(parse_yaml((site.project / "dvc.lock").read_text(), "dvc.lock")["stages"]) == list(STAGES)


def test_status_is_clean_and_a_second_repro_runs_nothing(site):
    assert json.loads(site.dvc("status", "--json")) == {}

    before = len(site.mlflow_runs())
    said = site.dvc("repro")

    assert [f"Stage '{stage}' didn't change, skipping" in said for stage in STAGES] == [True] * 3
    assert len(site.mlflow_runs()) == before > 0


def test_metrics_and_plots_show(site):
    metrics = json.loads(site.dvc("metrics", "show", "--json"))
    page = site.dvc("plots", "show").strip()

    assert metrics[""]["data"]["reports/metrics.json"]["data"]["test"]["accuracy"] >= 0.9
    assert page.startswith("file://")
    assert {title: revisions(plot) for title, plot in plots(site).items()} == {title: ["workspace"] for title in TITLES}


def test_push_puts_every_output_into_the_store_and_needs_no_secret_on_disk(site):
    site.dvc("push")

    stages = parse_yaml((site.project / "dvc.lock").read_text(), "dvc.lock")["stages"].values()
    md5s = {out["md5"] for stage in stages for out in stage["outs"]}
    assert {f"dvc/files/md5/{md5[:2]}/{md5[2:]}" for md5 in md5s} <= set(site.objects())
    config = (site.project / ".dvc" / "config.local").read_text() + (site.project / ".dvc" / "config").read_text()
    assert site.env["AWS_SECRET_ACCESS_KEY"] not in config
    assert site.env["AWS_ACCESS_KEY_ID"] not in config


def test_the_same_inputs_give_the_same_bytes(site):
    before = files(site)

    site.dvc("repro", "--force", "--no-run-cache")

    after = files(site)
    assert {path for path in before if before[path] != after[path]} == {"reports/mlflow_run.json"}


def test_the_dag_uses_what_was_made_by_hand(site):
    before = len(site.mlflow_runs())

    (run,) = site.dag({})

    outcomes = {stage: run["returned"][f"pipeline.{stage}"]["outcome"] for stage in STAGES}
    assert outcomes == dict.fromkeys(STAGES, "restored")
    assert len(site.mlflow_runs()) == before


def test_each_param_is_declared_on_exactly_the_stages_that_use_it(site):
    """A stage that reads a value it does not declare would not be run again when the value changes.

    Each stage is run with a configuration that has only its declared params (and, to be valid, default values for
    the rest): if it used anything else, it would now make something else.
    """
    declared = {
        stage: {key for values in definition["params"] for keys in values.values() for key in keys}
        for stage, definition in parse_yaml((site.project / "dvc.yaml").read_text(), "dvc.yaml")["stages"].items()
    }
    other = {
        "data.max_missing_share": 0.5,
        "split.test_size": 0.4,
        "split.random_state": 7,
        "model.C": 9.0,
        "registry.minimum": 0.1,
        "storage.bucket": "another-bucket",
        "schedule.catchup": True,
    }
    outputs = {
        "get_data": ["data/raw/dataset.csv"],
        "preprocess": ["data/processed/train.csv", "data/processed/test.csv"],
    }
    outputs["train_and_evaluate"] = [
        "models/log_reg_model.pkl",
        *(f"reports/{name}" for name in ("metrics.json", "confusion_matrix.csv", "roc_curve.csv", "coefficients.csv")),
    ]
    file = site.project / "config" / "config.yaml"
    text = file.read_text()
    document = parse_yaml(text, file)
    try:
        for stage, paths in outputs.items():
            before = {path: (site.project / path).read_bytes() for path in paths}
            changed = json.loads(json.dumps(document))
            for key, value in other.items():
                section, name = key.split(".")
                if key not in declared[stage] and section not in declared[stage]:
                    changed[section][name] = value
            file.write_text(json.dumps(changed))
            done = site.python("-m", f"include.stages.{stage}")
            assert done.returncode == 0, done.stderr
            assert {path: (site.project / path).read_bytes() for path in paths} == before
    finally:
        file.write_text(text)
        site.dvc("checkout", "--force")  # the training named another MLflow run


def test_stages_that_do_not_track_import_no_mlflow(site):
    code = (
        "import sys, runpy; runpy.run_module('include.stages.{}', run_name='__main__'); print('mlflow' in sys.modules)"
    )

    for stage in ("get_data", "preprocess"):
        assert site.python("-c", code.format(stage)).stdout.splitlines()[-1] == "False"


def test_plots_diff_shows_two_versions_of_the_model_side_by_side(site):
    git = ("git", "-c", "user.name=test", "-c", "user.email=test@localhost")
    site.dvc("repro")
    for arguments in (("add", "--force", "dvc.lock"), ("commit", "--quiet", "--message", "C is 1")):
        done = site.run(*git, *arguments)
        assert done.returncode == 0, done.stderr
    site.edit_config("C: 1.0", "C: 0.01")
    try:
        site.dvc("repro")
        site.dvc("plots", "diff", "HEAD")
        shown = plots(site)
    finally:
        site.edit_config("C: 0.01", "C: 1.0")
        site.dvc("repro")

    both = ["HEAD", "workspace"]
    assert {title: revisions(plot) for title, plot in shown.items()} == dict.fromkeys(TITLES, both)
    _, roc, weights = (shown[title] for title in TITLES)
    assert (roc["encoding"]["color"]["field"], roc["encoding"]["strokeDash"]["field"]) == ("class", "rev")
    assert weights["encoding"]["color"]["field"] == "rev"
    assert "zero" not in weights["encoding"]["x"].get("scale", {})  # bars begin at 0
    largest = {
        rev: max(abs(float(row["coefficient"])) for row in weights["data"]["values"] if row["rev"] == rev)
        for rev in revisions(weights)
    }
    assert largest["workspace"] < largest["HEAD"]
