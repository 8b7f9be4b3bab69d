"""The tables behind the plots."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from include.models.pipeline import fit
from include.settings.config_file import apply_overrides, validate_config
from include.stages.get_data import load_builtin
from include.stages.plots import calibration_table, feature_table, roc_table


@pytest.fixture
def trained(config_document):
    def trained(name: str, **values):
        frame = load_builtin(name, "target")
        features, target = frame.drop(columns="target"), frame["target"]
        model = validate_config(apply_overrides(config_document, {"model": values}, "the test")).model
        return fit(features, target, model), features, target

    return trained


@pytest.mark.parametrize(("name", "classes"), [("iris", 3), ("breast_cancer", 2)])
def test_there_is_a_roc_curve_per_class_from_0_to_1(trained, name, classes):
    pipeline, features, target = trained(name)

    table = roc_table(pipeline, features, target)

    assert table["class"].nunique() == classes
    for number, (label, curve) in enumerate(table.groupby("class", sort=False)):
        assert curve.iloc[0, 1:].tolist() == [0, 0]
        assert curve.iloc[-1, 1:].tolist() == [1, 1]
        heights = (curve["true_positive_rate"] + curve["true_positive_rate"].shift()) / 2
        area = (curve["false_positive_rate"].diff() * heights).sum()
        assert area == pytest.approx(roc_auc_score(target == label, pipeline.predict_proba(features)[:, number]))


@pytest.mark.parametrize(("name", "classes", "features"), [("iris", 3, 4), ("breast_cancer", 1, 30)])
def test_there_is_a_coefficient_per_class_and_feature_and_an_intercept_per_class(trained, name, classes, features):
    pipeline, columns, target = trained(name)

    table = feature_table(pipeline, columns, target)

    assert table["class"].drop_duplicates().tolist() == list(pipeline.classes_[-classes:])  # of two, the second's
    wide = table["weight"].to_numpy().reshape(classes, features + 1)
    assert wide[:, :-1].tolist() == pipeline[-1].coef_.tolist()
    assert wide[:, -1].tolist() == pipeline[-1].intercept_.tolist()
    assert table["feature"].tolist() == [*columns.columns, "(intercept)"] * classes
    assert table["label"].tolist() == [f"{row.feature} ({row[1]})" for row in table.itertuples()]
    assert table["label"].is_unique


def test_without_an_intercept_there_is_no_row_of_it(trained):
    pipeline, features, target = trained("iris", fit_intercept=False)

    assert feature_table(pipeline, features, target)["feature"].tolist() == list(features.columns) * 3


@pytest.mark.parametrize(("rows", "points"), [(10, 1), (39, 3), (569, 10)])
def test_a_calibration_curve_has_as_many_points_as_there_are_rows_for(trained, rows, points):
    pipeline, features, target = trained("breast_cancer")
    features, target = features[:rows], target[:rows]

    table = calibration_table(pipeline, features, target)

    for number, (label, curve) in enumerate(table.groupby("class", sort=False)):
        probabilities = pipeline.predict_proba(features)[:, number]
        assert len(curve) <= points
        assert curve["rows"].sum() == rows
        assert curve["rows"].min() >= min(rows, 9)
        assert curve["share"] @ curve["rows"] / rows == pytest.approx((target == label).mean())
        assert curve["probability"] @ curve["rows"] / rows == pytest.approx(probabilities.mean())
        assert curve["probability"].is_monotonic_increasing


def test_rows_with_one_probability_are_one_point_of_a_calibration_curve():
    pipeline = SimpleNamespace(
        classes_=np.array(["a", "b"]), predict_proba=lambda rows: np.tile([0.25, 0.75], (len(rows), 1))
    )

    table = calibration_table(pipeline, pd.DataFrame({"x": range(40)}), pd.Series(["a", "b", "b", "b"] * 10))

    assert table.to_dict("records") == [
        {"class": "a", "probability": 0.25, "share": 0.25, "rows": 40},
        {"class": "b", "probability": 0.75, "share": 0.75, "rows": 40},
    ]


@pytest.mark.parametrize("name", ["iris", "breast_cancer"])
def test_the_tables_have_the_same_bytes_each_time(trained, name):
    def texts():
        pipeline, features, target = trained(name)
        tables = [make(pipeline, features, target) for make in (roc_table, calibration_table, feature_table)]
        return [table.to_csv() for table in tables]

    assert texts() == texts()
