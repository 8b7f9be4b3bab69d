"""The model and its scores, without MLflow."""

import numpy as np
import pandas as pd
import pytest

from include.config_file import validate_config
from include.errors import ConfigError
from include.stages.get_data import load_builtin
from include.stages.train_and_evaluate import fit, report, score


@pytest.fixture
def model(config_document):
    def model(**values):
        return validate_config({**config_document, "model": {**config_document["model"], **values}}).model

    return model


def features_and_target(name="iris"):
    frame = load_builtin(name, "target")
    return frame.drop(columns="target"), frame["target"]


def test_a_fit_on_iris_classifies_iris(model):
    features, target = features_and_target()

    scores = score(fit(features, target, model()), features, target)

    assert set(scores) == {"accuracy", "precision_macro", "recall_macro", "f1_macro", "roc_auc_ovr", "log_loss"}
    assert 0.95 < scores["accuracy"] <= 1
    assert 0.99 < scores["roc_auc_ovr"] <= 1
    assert 0 < scores["log_loss"] < 0.3


def test_two_classes_are_scored_too(model):
    features, target = features_and_target("breast_cancer")

    scores = score(fit(features, target, model()), features, target)

    assert scores["roc_auc_ovr"] > 0.99


def test_scores_agree_with_a_count_by_hand(model):
    features = pd.DataFrame({"x": [0.0, 0.1, 0.9, 1.0, 0.95]})
    target = pd.Series(["a", "a", "b", "b", "a"])
    pipeline = fit(features, target, model())
    right = (pipeline.predict(features) == target.to_numpy()).mean()

    assert score(pipeline, features, target)["accuracy"] == pytest.approx(right)
    assert report(target, pipeline.predict(features))["accuracy"] == pytest.approx(right)


def test_missing_values_are_imputed(model):
    features, target = features_and_target()
    features = features.copy()
    features.iloc[::7, 2] = np.nan

    assert score(fit(features, target, model()), features, target)["accuracy"] > 0.9


def test_every_hyperparameter_reaches_the_classifier(model):
    features, target = features_and_target()
    wanted = model(
        C=0.3, solver="saga", tol=0.01, max_iter=900, fit_intercept=False, class_weight="balanced", random_state=3
    )

    classifier = fit(features, target, wanted)["classify"]

    assert {name: getattr(classifier, name) for name in wanted.model_dump()} == wanted.model_dump()


def test_a_solver_that_cannot_do_the_data_is_a_config_error(model):
    features, target = features_and_target()

    with pytest.raises(ConfigError, match=r"config/config\.yaml, model: .*liblinear"):
        fit(features, target, model(solver="liblinear"))
