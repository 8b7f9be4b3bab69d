"""Batch scoring with a registered champion, a real store and a real MLflow."""

import hashlib
import io
import json
import shutil
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import mlflow
import pandas as pd
import pytest

from include.errors import ConfigError, DataError, ServiceError
from include.mlflow_client import translated_errors
from include.scoring.batch import score_batch
from include.settings import RuntimeSettings
from include.settings.config_file import load_config, read_config_document, validate_config
from include.stages.get_data import load_builtin
from include.stages.train_and_evaluate import fit

NOW = datetime(2026, 5, 1, tzinfo=UTC)
FEATURES = load_builtin("iris", "target").drop(columns="target")


class Scoring:
    """A champion, and the means to score with it."""

    def __init__(self, deployment) -> None:
        self.deployment = deployment
        self.runtime = RuntimeSettings.model_validate({name.lower(): value for name, value in deployment.env.items()})
        self.mlflow = mlflow.MlflowClient()
        iris = load_builtin("iris", "target")
        self.pipeline = fit(FEATURES, iris["target"], load_config(deployment.project).model)

    def register(self, name: str) -> str:
        """Make a version that is champion of a model of that name; the id of the logged model."""
        mlflow.set_experiment("scoring")
        with mlflow.start_run() as run:
            logged = mlflow.sklearn.log_model(
                self.pipeline,
                name="model",
                signature=mlflow.models.infer_signature(FEATURES),
                pip_requirements=["pandas"],
                skops_trusted_types=["numpy.dtype"],
            )
        self.mlflow.create_registered_model(name)
        version = self.mlflow.create_model_version(
            name, logged.model_uri, run_id=run.info.run_id, model_id=logged.model_id
        )
        self.mlflow.set_registered_model_alias(name, "champion", version.version)
        return logged.model_id

    def score(self, source: str, model: str = "flowers", **values: str):
        document = read_config_document(self.deployment.project)
        document["scoring"] |= {"input": source, **values}
        document["registry"]["model_name"] = model
        config = validate_config(document)
        with translated_errors(self.runtime):
            return score_batch(config, self.runtime, self.mlflow, "manual__1/2", NOW, self.deployment.project)

    def written(self, scored) -> pd.DataFrame:
        content = self.deployment.s3.get_object(Bucket=scored.bucket, Key=scored.key)["Body"].read()
        reader = pd.read_parquet if scored.key.endswith(".parquet") else pd.read_csv
        return reader(io.BytesIO(content))

    def predictions(self) -> list[str]:
        return [key for key in self.deployment.objects() if key.startswith("predictions/")]


@pytest.fixture(scope="module")
def scoring(make_deployment):
    deployment = make_deployment("scoring")
    with pytest.MonkeyPatch.context() as patch:
        for name in ("MLFLOW_TRACKING_URI", "AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            patch.setenv(name, deployment.env[name])
        mlflow.set_tracking_uri(deployment.env["MLFLOW_TRACKING_URI"])
        scoring = Scoring(deployment)
        scoring.register("flowers")
        yield scoring


@pytest.fixture(autouse=True)
def nothing_is_left(scoring):
    yield
    for key in scoring.predictions():
        scoring.deployment.s3.delete_object(Bucket=scoring.deployment.bucket, Key=key)


def put(scoring, key: str, content: bytes) -> str:
    scoring.deployment.s3.put_object(Bucket=scoring.deployment.bucket, Key=key, Body=content)
    return f"s3://{scoring.deployment.bucket}/{key}"


def test_a_csv_in_the_store_is_scored_with_version_and_md5_in_each_row(scoring):
    table = FEATURES.iloc[::-1, ::-1].assign(customer="ä, b")  # other order of rows and columns, one column more
    content = table.to_csv(index=False).encode()

    scored = scoring.score(put(scoring, "landing/2026-05-01.csv", content).replace("2026-05-01", "{date:%Y-%m-%d}"))

    written = scoring.written(scored)
    assert scored.key == "predictions/manual__1%2F2/predictions.csv"
    assert written["prediction"].tolist() == scoring.pipeline.predict(FEATURES[::-1]).tolist()
    probabilities = written[[f"probability_{name}" for name in scoring.pipeline.classes_]]
    assert probabilities.to_numpy() == pytest.approx(scoring.pipeline.predict_proba(FEATURES[::-1]))
    assert set(written["data_md5"]) == {hashlib.md5(content).hexdigest()} == {scored.data_md5}
    assert set(written["model_version"]) == {1}
    assert written[table.columns].equals(pd.read_csv(io.BytesIO(content)))
    assert (scored.rows, sum(scored.counts.values())) == (150, 150)


def test_a_parquet_file_at_a_path_stays_parquet(scoring):
    FEATURES.head(7).to_parquet(scoring.deployment.project / "batch.parquet")

    scored = scoring.score("batch.parquet")

    assert scored.key.endswith("/predictions.parquet")
    assert scoring.written(scored)["prediction"].tolist() == ["setosa"] * 7
    assert scored.data_md5 == hashlib.md5((scoring.deployment.project / "batch.parquet").read_bytes()).hexdigest()


def test_a_csvs_other_columns_come_back_as_the_text_that_they_were(scoring):
    table = FEATURES.head(3).assign(customer=["007", "008", "1e3"], country=["NA", "DE", ""])

    scored = scoring.score(put(scoring, "ids.csv", table.to_csv(index=False).encode()))

    content = scoring.deployment.s3.get_object(Bucket=scored.bucket, Key=scored.key)["Body"].read()
    written = pd.read_csv(io.BytesIO(content), dtype=str, keep_default_na=False)
    assert written["customer"].tolist() == ["007", "008", "1e3"]
    assert written["country"].tolist() == ["NA", "DE", ""]


def test_rows_longer_than_the_header_are_refused_not_shifted(scoring):
    header = ",".join(FEATURES.columns)

    with pytest.raises(DataError, match=r"scoring\.input: .* has rows with more fields than its first line"):
        scoring.score(put(scoring, "long.csv", f"{header}\n5.1,3.5,1.4,0.2,9.9\n".encode()))
    assert scoring.predictions() == []


def test_a_parquet_files_index_decimals_and_empty_column_are_as_in_training(scoring):
    table = FEATURES.head(2).assign(
        petal_width_cm=[Decimal("0.2"), Decimal("0.3")], sepal_width_cm=[None, None], customer=["a", "b"]
    )
    table.set_index("customer").to_parquet(scoring.deployment.project / "indexed.parquet")

    written = scoring.written(scoring.score("indexed.parquet"))

    assert written.index.tolist() == ["a", "b"]
    assert written["prediction"].tolist() == ["setosa", "setosa"]


def test_the_loaded_model_leaves_nothing_in_the_temporary_folder(scoring, monkeypatch, tmp_path):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))

    scoring.score("sklearn:iris")

    assert list(tmp_path.iterdir()) == []


def test_missing_values_are_imputed_as_in_the_training(scoring):
    table = FEATURES.head(3).copy()
    table.iloc[0, 0] = None

    scored = scoring.score(put(scoring, "gaps.csv", table.to_csv(index=False).encode()))

    assert scored.rows == 3
    assert scoring.written(scored)["prediction"].tolist() == scoring.pipeline.predict(table).tolist()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda table: table.rename(columns={"petal_width_cm": "petal_width"}),
            r"columns that the model needs: 'petal_width_cm' \(is it 'petal_width'\?\)\. It has: 'sepal_length_cm'",
        ),
        (
            lambda table: table.drop(columns=["sepal_width_cm"]),
            r"lacks columns that the model needs: 'sepal_width_cm'\.",
        ),
        (
            lambda table: table.assign(petal_width_cm="wide"),
            r"column 'petal_width_cm' is not numeric \(contains 'wide'\)",
        ),
        (
            lambda table: table.astype({"petal_width_cm": object}).replace({"petal_width_cm": {0.4: "wide"}}),
            r"column 'petal_width_cm' is not numeric \(contains 'wide'\)",
        ),
        (lambda table: table.assign(petal_width_cm=float("inf")), "column 'petal_width_cm' contains infinite values"),
        (lambda table: table.rename(columns=str.upper), r"'petal_width_cm' \(is it 'PETAL_WIDTH_CM'\?\)"),
        (lambda table: table.assign(prediction=1), "has columns 'prediction', which the results need"),
        (lambda table: table.head(0), "scoring.input: .* has no rows"),
    ],
)
def test_a_table_that_does_not_fit_is_refused_with_the_column_and_nothing_is_written(scoring, change, message):
    source = put(scoring, "unfit.csv", change(FEATURES).to_csv(index=False).encode())

    with pytest.raises(DataError, match=message):
        scoring.score(source)
    assert scoring.predictions() == []


@pytest.mark.parametrize(
    ("source", "values", "kind", "message"),
    [
        ("nowhere.csv", {}, DataError, r"scoring\.input: no file at .*nowhere\.csv"),
        ("s3://ml-scoring/nowhere.csv", {}, DataError, r"scoring\.input: .*nowhere\.csv"),
        ("sklearn:tulips", {}, ConfigError, r"scoring\.input: no built-in data set is named 'tulips'"),
        ("config/config.yaml", {}, ConfigError, r"scoring\.format: cannot tell the format"),
        ("README.md", {"format": "parquet"}, DataError, r"scoring\.input: README\.md is not a Parquet file"),
    ],
)
def test_a_source_that_is_not_there_is_named_by_its_key(scoring, source, values, kind, message):
    with pytest.raises(kind, match=message):
        scoring.score(source, **values)
    assert scoring.predictions() == []


def test_without_a_champion_nothing_is_scored(scoring):
    with pytest.raises(DataError, match=r"no version of model nobody \(registry\.model_name\) is champion"):
        scoring.score("sklearn:iris", "nobody")
    assert scoring.predictions() == []


def test_a_champion_whose_files_are_gone_is_named(scoring):
    model_id = scoring.register("lost")
    (folder,) = (Path(scoring.deployment.env["AIRFLOW_HOME"]).parent / "mlflow-artifacts").rglob(model_id)
    shutil.rmtree(folder)

    with pytest.raises(DataError, match=r"the champion, version 1 of lost, cannot be loaded .*promote VERSION`"):
        scoring.score("sklearn:iris", "lost")
    assert scoring.predictions() == []
    assert dict(scoring.mlflow.get_registered_model("lost").aliases) == {"champion": "1"}


def test_a_store_that_is_away_is_named_and_may_be_tried_again(scoring):
    away = scoring.runtime.model_copy(update={"aws_endpoint_url": "http://127.0.0.1:9"})
    config = load_config(scoring.deployment.project)
    config = config.model_copy(update={"registry": config.registry.model_copy(update={"model_name": "flowers"})})

    with pytest.raises(ServiceError, match=r"the object store at http://127\.0\.0\.1:9 does not answer"):
        score_batch(config, away, scoring.mlflow, "r", NOW, scoring.deployment.project)


def test_the_dag_scores_what_its_conf_says_and_refuses_what_is_for_the_pipeline(scoring):
    deployment = scoring.deployment
    deployment.edit_config(f"model_name: {deployment.model}", "model_name: flowers")
    FEATURES.head(5).to_csv(deployment.project / "five.csv", index=False)

    good, bad = deployment.dag(
        {"conf": {"scoring.input": "five.csv"}}, {"conf": {"model": {"C": 2.0}}}, dag_id="score_batch"
    )

    assert good["state"] == "success"
    assert good["returned"]["score"]["rows"] == 5
    assert json.dumps(good).count(deployment.env["AWS_SECRET_ACCESS_KEY"]) == 0
    assert good["xcoms"]["score:_link_ModelVersionLink"].endswith("/#/models/flowers/versions/1")
    assert (bad["state"], bad["tries"]["score"]) == ("failed", 1)
    assert "model.logistic_regression.C belongs to another DAG; this one uses: scoring." in bad["failures"]["score"]
