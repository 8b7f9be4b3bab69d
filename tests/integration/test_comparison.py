"""The fair comparison: a champion that was scored on other rows is scored on those of the challenger."""

import hashlib
import shutil
from pathlib import Path

import mlflow
import pytest

from include.errors import DataError
from include.registry.champion import Actor
from include.registry.comparison import Comparison
from include.registry.registry import Registry
from include.stages.get_data import load_builtin
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


def evaluate_on(registries, registry: Registry, md5: str):
    comparison = Comparison(registries.base, registries.runtime, registries.mlflow, md5)
    metrics = {"test_accuracy": 0.95, "test_f1_macro": 0.95, "test_log_loss": 0.2}
    return registry.promote("2", metrics, registries.base.registry, comparison.scores_of, Actor("a test", "task-2"))


def two(registries, name: str, first: int) -> Registry:
    registry = registries.registry(name)
    for number in (first, 11):
        registry.register(registries.trained(number), {"md5.test_data": "of other rows"}, "")
    registries.promote(registry, "1", {"1": 0.8})
    return registry


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
