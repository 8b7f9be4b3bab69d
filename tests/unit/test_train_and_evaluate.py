"""The model and its scores, without MLflow."""

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import brier_score_loss, log_loss, roc_auc_score

from include.errors import ConfigError, DataError
from include.models.pipeline import fit
from include.settings.config_file import apply_overrides, validate_config
from include.stages.get_data import load_builtin
from include.stages.score import aligned, class_report, score


@pytest.fixture
def model(config_document):
    def model(**values):
        return validate_config(apply_overrides(config_document, {"model": values}, "the test")).model

    return model


def features_and_target(name="iris"):
    frame = load_builtin(name, "target")
    return frame.drop(columns="target"), frame["target"]


def test_a_fit_on_iris_classifies_iris(model):
    features, target = features_and_target()

    scores = score(fit(features, target, model()), features, target)

    macro = {"precision_macro", "recall_macro", "f1_macro"}
    assert set(scores) == {"accuracy", *macro, "roc_auc_ovr", "log_loss", "brier"}
    assert 0 < scores["brier"] < 0.1
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
    assert class_report(target, pipeline.predict(features))["accuracy"] == pytest.approx(right)


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

    assert {name: getattr(classifier, name) for name in wanted.settings.model_dump()} == (wanted.settings.model_dump())


def test_a_solver_that_cannot_do_the_data_is_a_config_error(model):
    features, target = features_and_target()

    with pytest.raises(ConfigError, match=r"model\.logistic_regression: .*liblinear"):
        fit(features, target, model(solver="liblinear"))


def test_rows_of_the_models_own_classes_are_scored_on_its_probabilities_as_they_are(model):
    for name in ("iris", "breast_cancer"):
        features, target = features_and_target(name)
        pipeline = fit(features, target, model())
        probabilities = pipeline.predict_proba(features)
        positive = probabilities[:, 1] if name == "breast_cancer" else probabilities

        scores = score(pipeline, features, target)

        assert scores["roc_auc_ovr"] == roc_auc_score(target, positive, multi_class="ovr")
        assert scores["log_loss"] == log_loss(target, probabilities)
        assert scores["brier"] == pytest.approx(brier_score_loss(target, probabilities, scale_by_half=True))


def test_rows_that_lack_a_class_are_scored_over_the_classes_they_have(model):
    features, target = features_and_target()
    pipeline = fit(features, target, model())
    some = target != "setosa"

    scores = score(pipeline, features[some], target[some])

    among = pipeline.predict_proba(features[some])[:, 1:]
    share = among / among.sum(axis=1, keepdims=True)
    assert scores["roc_auc_ovr"] == pytest.approx(roc_auc_score(target[some] == "virginica", share[:, 1]))
    assert scores["log_loss"] == pytest.approx(log_loss(target[some], share))
    assert scores["accuracy"] == (pipeline.predict(features[some]) == target[some]).mean()


def test_rows_of_a_class_that_the_model_does_not_know_count_against_it(model):
    features, target = features_and_target()
    pipeline = fit(features, target, model())
    renamed = target.replace("setosa", "sibirica")

    before, after = score(pipeline, features, target), score(pipeline, features, renamed)

    assert after["accuracy"] == pytest.approx(before["accuracy"] - 50 / 150)
    assert 5 < after["log_loss"] < np.inf
    assert 0 <= after["roc_auc_ovr"] < before["roc_auc_ovr"]


def test_a_model_of_two_classes_is_scored_on_rows_of_three_and_the_other_way_round(model):
    features, target = features_and_target()
    two = target != "virginica"

    of_two = score(fit(features[two], target[two], model()), features, target)
    of_three = score(fit(features, target, model()), features[two], target[two])

    assert of_two["accuracy"] == pytest.approx(100 / 150)
    assert np.isfinite(list(of_two.values())).all()
    assert of_three["roc_auc_ovr"] == 1


def test_probabilities_go_by_the_classes_of_the_rows_and_add_up_to_1():
    probabilities = np.array([[0.5, 0.25, 0.25], [1.0, 0.0, 0.0]])

    found = aligned(probabilities, ["a", "b", "c"], ["b", "c", "d"])

    assert found.tolist() == [[0.5, 0.5, 0.0], [1 / 3, 1 / 3, 1 / 3]]


def test_rows_of_one_class_are_refused(model):
    features, target = features_and_target()
    setosa = target == "setosa"

    with pytest.raises(DataError, match="all rows are of class 'setosa': the ROC AUC"):
        score(fit(features, target, model()), features[setosa], target[setosa])
