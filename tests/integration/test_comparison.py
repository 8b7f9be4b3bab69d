"""The fair comparison: by recorded predictions, or the champion is scored on the rows of the challenger."""

import hashlib
import io
import shutil
from pathlib import Path

import mlflow
import pandas as pd
import pytest

from include.errors import DataError
from include.registry.champion import Actor
from include.registry.comparison import Comparison
from include.registry.registry import Registry
from include.settings import SliceConfig
from include.stages.get_data import load_builtin
from include.stages.score import prediction_table
from tests.support.registries import registries_of
from tests.support.tables import parquet


@pytest.fixture(scope="module")
def registries(make_deployment):
    with registries_of(make_deployment("comparison")) as registries:
        yield registries


@pytest.fixture(scope="module")
def other_rows(registries):
    """Test rows that no version was scored on, in the store; their md5."""
    rows = parquet(load_builtin("iris", "target")[::3])
    return put(registries, rows)


def put(registries, content: bytes) -> str:
    md5 = hashlib.md5(content).hexdigest()
    key = f"{registries.base.storage.prefix}/files/md5/{md5[:2]}/{md5[2:]}"
    registries.deployment.s3.put_object(Bucket=registries.deployment.bucket, Key=key, Body=content)
    return md5


def predictions(registries, number: int, rows=None) -> bytes:
    """As the training of a model records them."""
    rows = load_builtin("iris", "target")[::3] if rows is None else rows
    model = mlflow.sklearn.load_model(registries.trained(number)["model_uri"])
    return parquet(prediction_table(model, rows.drop(columns="target"), rows["target"]))


def evaluate_on(registries, registry: Registry, md5: str, version: str = "2", **values):
    rule = registries.base.registry.model_copy(update=values)
    config = registries.base.model_copy(update={"registry": rule})
    own = put(registries, predictions(registries, 11))
    comparison = Comparison(config, registries.runtime, registries.mlflow, md5, own)
    metrics = {"test_accuracy": 0.95, "test_f1_macro": 0.95, "test_log_loss": 0.2}
    return registry.promote(version, metrics, rule, comparison.scores_of, Actor("a test", "of another run"))


def two(registries, name: str, first: int, **tags: str) -> Registry:
    registry = registries.registry(name)
    for number in (first, 11):
        registry.register(registries.trained(number), {"md5.test_data": "of other rows", **tags}, "")
    registries.promote(registry, "1", {"1": 0.8})
    return registry


@pytest.fixture
def recorded(registries, other_rows, request):
    """Two versions, of which the first was scored on the same rows; its predictions are in the store."""
    for name in ("test_accuracy", "test_f1_macro", "test_log_loss"):
        registries.mlflow.log_metric(registries.trained(9)["run_id"], name, 0.9)
    md5 = put(registries, predictions(registries, 9))
    name = hashlib.md5(request.node.name.encode()).hexdigest()
    return two(registries, name, 9, **{"md5.test_data": other_rows, "md5.test_predictions": md5}), md5


def test_recorded_predictions_are_compared_row_by_row_and_no_model_is_loaded(
    registries, recorded, other_rows, monkeypatch
):
    monkeypatch.setattr("include.registry.comparison.load_model", lambda *_: pytest.fail("a model was loaded"))
    slices = [
        SliceConfig(column="target", tolerance=0.2),
        SliceConfig(column="petal_width_cm", minimum=0.1, min_rows=5),
    ]

    verdict = evaluate_on(registries, recorded[0], other_rows, slices=slices)

    assert verdict.note == "compared with version 1, scored on the same test rows"
    assert {check.metric.partition("=")[0] for check in verdict.checks[4:]} == {
        "test_recall[target",
        "test_accuracy[petal_width_cm",
    }
    assert all(check.lower <= check.upper for check in verdict.checks[1:4])
    assert any("fewer than 5 test rows (min_rows): 'petal_width_cm=" in line for line in verdict.warnings)


def test_a_champion_whose_mlflow_run_is_in_the_bin_is_compared_all_the_same(registries, recorded, other_rows):
    registries.mlflow.delete_run(registries.trained(9)["run_id"])
    try:
        verdict = evaluate_on(registries, recorded[0], other_rows)
    finally:
        registries.mlflow.restore_run(registries.trained(9)["run_id"])

    assert verdict.note == "compared with version 1, scored on the same test rows"


def test_a_champion_whose_predictions_are_gone_is_scored_again(registries, recorded, other_rows):
    registry, md5 = recorded
    key = f"{registries.base.storage.prefix}/files/md5/{md5[:2]}/{md5[2:]}"
    registries.deployment.s3.delete_object(Bucket=registries.deployment.bucket, Key=key)

    verdict = evaluate_on(registries, registry, other_rows)

    assert "whose predictions were not recorded: scored again on these rows" in verdict.note
    assert verdict.checks[1].lower is not None


def test_a_champion_for_another_target_of_the_same_table_is_not_compared_and_the_run_goes_on(
    registries, recorded, other_rows
):
    registry, _ = recorded
    table = pd.read_parquet(io.BytesIO(predictions(registries, 9)))
    other = put(registries, parquet(table.assign(actual=table["actual"].iloc[::-1].to_numpy())))
    registries.mlflow.set_model_version_tag(registry.name, "1", "md5.test_predictions", other)

    verdict = evaluate_on(registries, registry, other_rows)

    assert (verdict.passed, verdict.champion) == (False, "1")
    assert "cannot be compared: it predicts something else than data.target (target)" in verdict.note


@pytest.mark.parametrize(
    ("column", "said"),
    [
        ("petal_width", "no column 'petal_width' .did you mean 'petal_width_cm'"),
        ("sepal_length_cm", r"no group of column 'sepal_length_cm' has 40 test rows \(min_rows\)"),
    ],
)
def test_a_slice_that_cannot_be_judged_stops_before_anything_is_changed(registries, recorded, other_rows, column, said):
    registry, _ = recorded
    before = registries.mlflow.get_registered_model(registry.name)

    with pytest.raises(DataError, match=said):
        evaluate_on(registries, registry, other_rows, slices=[SliceConfig(column=column, minimum=0.1, min_rows=40)])

    after = registries.mlflow.get_registered_model(registry.name)
    assert (after.aliases, after.tags) == (before.aliases, before.tags)


def test_a_version_that_is_champion_already_has_its_groups_checked_too(registries, recorded, other_rows):
    def evaluated(column: str):
        slices = [SliceConfig(column=column, minimum=0.1)]
        return evaluate_on(registries, recorded[0], other_rows, version="1", slices=slices)

    with pytest.raises(DataError, match=r"registry\.slices\.0\.column: the test rows have no column 'petal_width'"):
        evaluated("petal_width")
    verdict = evaluated("target")

    assert (verdict.note, verdict.alias) == ("it is already the champion", "champion")
    assert [check.metric for check in verdict.checks[1:]] == [
        f"test_recall[target={name}]" for name in ("setosa", "versicolor", "virginica")
    ]


def test_a_champion_that_was_scored_on_other_rows_is_scored_on_the_new_ones(registries, other_rows):
    registry = two(registries, "fair", 9)
    rows = load_builtin("iris", "target")[::3]
    model = mlflow.sklearn.load_model(registries.trained(9)["model_uri"])
    accuracy = float((model.predict(rows.drop(columns="target")) == rows["target"]).mean())

    verdict = evaluate_on(registries, registry, other_rows)

    assert [check.champion for check in verdict.checks][1] == pytest.approx(accuracy)
    assert f"scored on other test rows: scored again on these rows (md5 {other_rows})" in verdict.note


def test_a_model_for_other_columns_is_not_compared_and_does_not_take_the_champions_place(registries):
    registry = two(registries, "columns", 9)
    rows = load_builtin("iris", "target")[::3].rename(columns={"petal_width_cm": "width"})

    verdict = evaluate_on(registries, registry, put(registries, parquet(rows)))

    assert (verdict.passed, verdict.alias, verdict.champion) == (False, "challenger", "1")
    assert verdict.note == (
        "the champion, version 1 of columns, cannot be compared: the table of test rows lacks columns "
        "that the model needs: 'petal_width_cm'. For a "
        "model of its own, set another registry.model_name; to replace the champion, run `python -m include promote 2`"
    )
    assert registries.mlflow.get_registered_model("columns").aliases == {"champion": "1", "challenger": "2"}


def test_a_champion_whose_model_is_gone_is_named_and_the_aliases_stay(registries, other_rows):
    registry = two(registries, "gone", 10)
    model_id = registries.trained(10)["model_uri"].removeprefix("models:/")
    (folder,) = (Path(registries.deployment.env["AIRFLOW_HOME"]).parent / "mlflow-artifacts").rglob(model_id)
    shutil.rmtree(folder)

    with pytest.raises(DataError, match=r"the champion, version 1 of gone, cannot be loaded .*promote VERSION`"):
        evaluate_on(registries, registry, other_rows)
    assert registries.mlflow.get_registered_model("gone").aliases == {"champion": "1"}
