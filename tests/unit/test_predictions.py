"""Recorded predictions, side by side."""

import numpy as np
import pandas as pd
import pytest

from include.errors import DataError
from include.models.pipeline import fit
from include.registry.paired import value
from include.registry.predictions import Predictions, paired
from include.settings.config_file import validate_config
from include.stages.get_data import load_builtin
from include.stages.score import prediction_table, score
from tests.support.tables import parquet


@pytest.fixture
def model_of(config_document):
    config = validate_config(config_document)
    iris = load_builtin("iris", "target")
    features, target = iris.drop(columns="target"), iris["target"]

    def model_of(chosen, labels=target):
        return fit(features[chosen], labels[chosen], config.model), features, labels

    return model_of


def test_predictions_survive_their_file_and_give_the_metrics_of_the_training(model_of):
    pipeline, features, target = model_of(np.arange(150) % 3 > 0)
    table = prediction_table(pipeline, features, target)

    read = Predictions.of_file(parquet(table), "the file")

    assert read.known == ("setosa", "versicolor", "virginica")
    pair = paired(read, Predictions.of_table(table))
    found = {name: value(name, pair.rows, pair.challenger) for name in score(pipeline, features, target)}
    assert found == pytest.approx(score(pipeline, features, target))


def test_a_champion_that_does_not_know_a_class_is_compared_as_it_was_scored(model_of):
    target = load_builtin("iris", "target")["target"]
    old, features, _ = model_of((target != "setosa").to_numpy())
    new, _, _ = model_of(np.ones(150, dtype=bool))

    tables = [Predictions.of_table(prediction_table(one, features, target)) for one in (old, new)]
    pair = paired(*tables)

    assert pair.champion.probabilities.shape == (150, 3)
    for answers, pipeline in ((pair.champion, old), (pair.challenger, new)):
        wanted = score(pipeline, features, target)
        assert {name: value(name, pair.rows, answers) for name in wanted} == pytest.approx(wanted)


def test_classes_that_are_numbers_are_the_same_as_their_text(model_of):
    target = load_builtin("iris", "target")["target"].map({"setosa": 1, "versicolor": 2, "virginica": 10})
    tables = [
        Predictions.of_table(prediction_table(*model_of(np.ones(150, dtype=bool), labels)))
        for labels in (target, target.astype(str))
    ]

    pair = paired(*tables)

    assert pair.rows.classes == ("1", "10", "2")
    assert pair.agree


def test_predictions_for_other_rows_are_not_compared(model_of):
    pipeline, features, target = model_of(np.ones(150, dtype=bool))
    table = prediction_table(pipeline, features, target)

    with pytest.raises(DataError, match="not of the same test rows"):
        paired(Predictions.of_table(table), Predictions.of_table(table[1:]))


@pytest.mark.parametrize("content", [b"no table", parquet(pd.DataFrame({"x": [1]}))])
def test_another_file_is_refused_by_name(content):
    with pytest.raises(DataError, match=r"reports/p\.parquet has no predictions of test rows"):
        Predictions.of_file(content, "reports/p.parquet")
