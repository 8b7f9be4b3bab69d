"""A stranger's table and model, from a source to a champion and a scored batch: what the documentation promises."""

import io

import pandas as pd
import pytest

from tests.support.refused_tables import titanic

DROPPED = ["PassengerId", "Name", "Ticket", "Cabin"]
SHIP = {"data.source": "incoming/passengers.csv", "data.target": "Survived", "registry.minimum": 0.6}
OWN_KIND = '''
"""``model.kind: naive_bayes``."""

from pydantic import Field

from include.models.settings import ModelSettings


class NaiveBayesSettings(ModelSettings):
    """Hyperparameters of scikit-learn's GaussianNB."""

    takes_sparse = False

    var_smoothing: float = Field(1e-9, gt=0, description="Share of the largest variance that is added to all")

    def estimator(self):
        from sklearn.naive_bayes import GaussianNB

        return GaussianNB(**self.model_dump())
'''


@pytest.fixture(scope="module")
def deployment(make_deployment):
    deployment = make_deployment("own-table")
    (deployment.project / "incoming").mkdir()
    titanic().to_csv(deployment.project / "incoming" / "passengers.csv", index=False)
    (deployment.project / "include" / "models" / "kinds" / "naive_bayes.py").write_text(OWN_KIND.lstrip())
    deployment.edit_config("  hist_gradient_boosting:\n", "  naive_bayes: {}\n  hist_gradient_boosting:\n")
    return deployment


@pytest.fixture(scope="module")
def runs(deployment):
    """A run that is refused, one per kind of model, and one on a table with a leak."""
    leaky = titanic().assign(boat=titanic()["Survived"].map({0: "none", 1: "boat"}))
    leaky.to_csv(deployment.project / "incoming" / "leaky.csv", index=False)
    good = {**SHIP, "data.drop": DROPPED}
    confs = {
        "refused": SHIP,
        "logistic_regression": {**good, "registry.model_name": "ship"},
        **{
            kind: {**good, "registry.model_name": f"ship-{kind}", "model.kind": kind}
            for kind in ("random_forest", "hist_gradient_boosting", "naive_bayes")
        },
        "leaky": {**good, "data.source": "incoming/leaky.csv", "registry.model_name": "leaky"},
    }
    return dict(zip(confs, deployment.dag(*({"conf": conf} for conf in confs.values())), strict=True))


def test_a_table_of_names_and_gaps_is_refused_with_all_that_is_to_be_dropped(runs):
    said = runs["refused"]["failures"]["pipeline.preprocess"]

    assert "data.source: incoming/passengers.csv cannot be trained on as it is" in said
    assert "set data.drop: [PassengerId, Name, Ticket, Cabin]" in said
    assert runs["refused"]["tries"]["pipeline.preprocess"] == 1


@pytest.mark.parametrize("kind", ["logistic_regression", "random_forest", "hist_gradient_boosting", "naive_bayes"])
def test_any_kind_of_model_becomes_champion_by_one_value(deployment, runs, kind):
    run = runs[kind]

    assert run["state"] == "success", run["failures"]
    assert run["returned"]["promote_model"]["alias"] == "champion"
    tracked = deployment.mlflow.get_run(run["returned"]["register_model"]["run_id"]).data
    assert tracked.params["model.kind"] == kind
    name = run["returned"]["register_model"]["name"]
    assert deployment.mlflow.get_model_version(name, "1").description.startswith(f"{kind} (")


def test_a_block_of_hyperparameters_reaches_the_stage_as_it_is_written(deployment, runs):
    """With the defaults filled in, `dvc status` would find another value in config.yaml than in the run's lock."""
    lock = runs["naive_bayes"]["returned"]["pipeline.train_and_evaluate"]["lock"]["dvc.lock"]["train_and_evaluate"]

    assert lock["params"]["config/config.yaml"]["model.naive_bayes"] == {}


def test_the_encoded_columns_are_in_plot_signature_and_summary(deployment, runs):
    run_id = runs["logistic_regression"]["returned"]["register_model"]["run_id"]
    version = deployment.mlflow.get_model_version("ship", "1")

    table = {line.split(",")[1] for line in plot(deployment, runs["logistic_regression"]).splitlines()[1:]}
    assert {"Age", "Sex=female", "Sex=male", "Embarked=S", "Embarked=(missing)", "(intercept)"} <= table
    importances = {line.split(",")[1] for line in plot(deployment, runs["random_forest"]).splitlines()[1:]}
    assert importances == {"Age", "Sex", "Embarked"}
    schema = deployment.mlflow.get_logged_model(version.source.removeprefix("models:/")).tags
    assert run_id == version.run_id, schema


def plot(deployment, run) -> str:
    """The table of what the features contribute."""
    outs = [out for entry in run["returned"]["pipeline.train_and_evaluate"]["lock"]["dvc.lock"].values()
            for out in entry["outs"]]  # fmt: skip
    md5 = next(out["md5"] for out in outs if out["path"] == "reports/features.csv")
    return deployment.stored(f"dvc/files/md5/{md5[:2]}/{md5[2:]}").decode()


def test_a_batch_with_a_category_that_the_training_did_not_see_is_scored(deployment, runs):
    batch = titanic().head(50).drop(columns="Survived")
    batch.loc[0, "Embarked"] = "Z"
    batch.loc[1, "Sex"] = None
    batch.to_csv(deployment.project / "incoming" / "batch.csv", index=False)
    batch.to_parquet(deployment.project / "incoming" / "batch.parquet")
    deployment.edit_config(f"model_name: {deployment.model}", "model_name: ship")

    confs = [{"conf": {"scoring.input": f"incoming/batch.{ending}"}} for ending in ("csv", "parquet")]
    scored = [run["returned"]["score"] for run in deployment.dag(*confs, dag_id="score_batch")]

    assert [one["rows"] for one in scored] == [50, 50]
    of_csv = pd.read_csv(io.BytesIO(deployment.stored(scored[0]["key"])), dtype=str)
    of_parquet = pd.read_parquet(io.BytesIO(deployment.stored(scored[1]["key"])))
    assert of_csv["prediction"].tolist() == of_parquet["prediction"].tolist()
    assert set(of_csv["prediction"]) == {"0", "1"}
    assert of_csv["probability_1"].astype(float).tolist() == pytest.approx(of_parquet["probability_1"].tolist())


def test_a_leak_is_warned_of_in_verdict_report_and_note(deployment, runs):
    note = runs["leaky"]["returned"]["promote_model"]["note"]

    assert "warning about the data: alone enough to tell every row's class" in note
    assert "'boat'" in note
    shown = deployment.cli_json("show", runs["leaky"]["run_id"])
    assert "'boat'" in shown["warnings"][0]
    key = next(key for key in deployment.objects() if key.endswith("report.html") and quoted(runs["leaky"]) in key)
    assert "Warnings about the data" in deployment.stored(key).decode()


def quoted(run) -> str:
    return run["run_id"].replace(":", "%3A").replace("+", "%2B")
