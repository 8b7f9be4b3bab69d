"""The tables behind the plots, the plots themselves, and scores on rows of other classes."""

import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from include.config_file import validate_config
from include.errors import DataError
from include.stages import figures
from include.stages.get_data import load_builtin
from include.stages.plots import coefficient_table, roc_table
from include.stages.train_and_evaluate import fit, score


@pytest.fixture
def trained(config_document):
    def trained(name: str):
        frame = load_builtin(name, "target")
        features, target = frame.drop(columns="target"), frame["target"]
        return fit(features, target, validate_config(config_document).model), features, target

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


@pytest.mark.parametrize(("name", "rows"), [("iris", 3 * 4), ("breast_cancer", 30)])
def test_there_is_a_coefficient_per_class_and_feature(trained, name, rows):
    pipeline, features, _ = trained(name)

    table = coefficient_table(pipeline, features)

    assert len(table) == rows == table["label"].nunique()
    first = table.iloc[0]
    assert first["coefficient"] == pipeline[-1].coef_[0, 0]
    assert first["label"] == f"{features.columns[0]} ({first['class']})"


@pytest.mark.parametrize("name", ["iris", "breast_cancer"])
def test_the_plots_show_what_the_tables_have(trained, name):
    pipeline, features, target = trained(name)
    roc, weights = roc_table(pipeline, features, target), coefficient_table(pipeline, features)

    curves = figures.roc_curve(roc).axes[0].get_lines()
    bars = [bar.get_width() for bar in figures.coefficients(weights).axes[0].patches]

    assert len(curves) == roc["class"].nunique() + 1  # and the one by chance
    assert curves[0].get_xydata().tolist() == roc[roc["class"] == roc["class"][0]].iloc[:, 1:].to_numpy().tolist()
    assert sorted(bars) == pytest.approx(sorted(weights["coefficient"]))


def test_a_plot_is_one_svg_element_and_always_the_same():
    table = pd.DataFrame({"actual": ["a<b", "c", "c"], "predicted": ["a<b", "c", "a<b"]})

    texts = {figures.svg(figures.confusion_matrix(table)) for _ in range(2)}

    (text,) = texts
    assert text.startswith("<svg")
    assert text.strip().endswith("</svg>")


def test_names_are_shown_as_they_are_and_not_as_formulas():
    names = ["$x$%$", "_hidden", "a$b_{$"]
    table = pd.DataFrame({"actual": names, "predicted": names})
    rates = [[name, rate, rate] for name in names for rate in (0.0, 1.0)]
    roc = pd.DataFrame(rates, columns=["class", "false_positive_rate", "true_positive_rate"])
    weights = pd.DataFrame({"class": names, "feature": names, "coefficient": [1.0, 2.0, 3.0]})

    texts = [
        figures.svg(draw(shown))
        for draw, shown in (
            (figures.confusion_matrix, table),
            (figures.roc_curve, roc),
            (figures.coefficients, weights),
        )
    ]

    assert all("</svg>" in text for text in texts)
    legend = [text.get_text() for text in figures.roc_curve(roc).axes[0].get_legend().get_texts()]
    assert [text.strip("\u200b").split(" (")[0] for text in legend] == [*names, "by chance"]


def test_rows_that_lack_a_class_are_scored_over_the_classes_they_have(trained):
    pipeline, features, target = trained("iris")
    some = target != "setosa"

    scores = score(pipeline, features[some], target[some])

    among = pipeline.predict_proba(features[some])[:, 1:]
    right = roc_auc_score(target[some] == "virginica", among[:, 1] / among.sum(axis=1))
    assert scores["roc_auc_ovr"] == pytest.approx(right)
    assert scores["accuracy"] == (pipeline.predict(features[some]) == target[some]).mean()


def test_rows_of_a_class_that_the_model_does_not_know_count_against_it(trained):
    pipeline, features, target = trained("iris")
    renamed = target.replace("setosa", "sibirica")

    before, after = score(pipeline, features, target), score(pipeline, features, renamed)

    assert after["accuracy"] == pytest.approx(before["accuracy"] - 50 / 150)
    assert after["log_loss"] > 5
    assert 0 <= after["roc_auc_ovr"] < before["roc_auc_ovr"]


def test_rows_of_one_class_are_refused(trained):
    pipeline, features, target = trained("iris")

    with pytest.raises(DataError, match="all of class 'setosa'"):
        score(pipeline, features[target == "setosa"], target[target == "setosa"])
