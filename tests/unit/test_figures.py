"""The figures: what they show of the tables read back from CSV, whatever classes and features are called."""

import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score, roc_curve

from include.stages import plots

ROOT = Path(__file__).parents[2]
HOSTILE = ("_hidden", r"$\frac$", "a$b$c", "<b>&amp;", "1")


def read_back(table: pd.DataFrame) -> pd.DataFrame:
    return pd.read_csv(io.StringIO(table.to_csv(index=False)))


def curves(names) -> pd.DataFrame:
    return read_back(
        pd.concat(
            pd.DataFrame({"class": name, "false_positive_rate": [0, 0.0, 1], "true_positive_rate": [0, 0.5, 1]})
            for name in names
        )
    )


def points(names) -> pd.DataFrame:
    return read_back(
        pd.concat(
            pd.DataFrame({"class": name, "probability": [0.1, 0.9], "share": [0.2, 1], "rows": 10}) for name in names
        )
    )


def weights(features, classes) -> pd.DataFrame:
    rows = [(name, feature, len(feature) - number) for number, name in enumerate(classes) for feature in features]
    return read_back(pd.DataFrame(rows, columns=["class", "feature", "weight"]))


def drawn_texts(figure) -> list[str]:
    """All text that the figure shows; drawing it raises what cannot be drawn."""
    from matplotlib.text import Text

    figure.savefig(io.BytesIO(), format="png")
    return [text.get_text().replace(r"\$", "$") for text in figure.findobj(Text)]


def test_to_draw_them_for_a_report_takes_no_import_of_scikit_learn():
    code = """if True:
        import sys
        import pandas as pd
        from include.stages import plots
        plots.svg(plots.confusion_figure(pd.DataFrame({"actual": ["a", "b"], "predicted": ["a", "a"]})))
        rates = {"class": "a", "false_positive_rate": [0, 1], "true_positive_rate": [0, 1]}
        plots.svg(plots.roc_figure(pd.DataFrame(rates)))
        points = {"class": "a", "probability": [0.2, 0.8], "share": [0, 1]}
        plots.svg(plots.calibration_figure(pd.DataFrame(points)))
        print([name for name in ("sklearn", "matplotlib.pyplot") if name in sys.modules])
    """
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)

    assert done.stdout == "[]\n"


def test_the_confusion_matrix_counts_each_pair_of_classes():
    table = pd.DataFrame({"actual": ["a", "a", "b", "b"], "predicted": ["a", "b", "b", "b"]})

    (cells,) = (image.get_array().tolist() for image in plots.confusion_figure(table).axes[0].get_images())

    assert cells == [[1, 1], [0, 2]]


def test_there_is_a_line_per_class_with_its_name_and_auc_and_one_by_chance():
    random = np.random.default_rng(0)
    truth, score = random.integers(0, 2, 60), random.random(60)
    false, true, _ = roc_curve(truth, score)
    one = pd.DataFrame({"class": "tulip", "false_positive_rate": false, "true_positive_rate": true})
    table = read_back(pd.concat([one, curves(["rose"])]))

    axes = plots.roc_figure(table).axes[0]

    labels = [f"tulip (AUC {roc_auc_score(truth, score):.3f})", "rose (AUC 0.750)", "by chance"]
    assert [line.get_label() for line in axes.get_lines()] == labels
    assert [text.get_text() for text in axes.get_legend().get_texts()] == labels
    assert axes.get_lines()[0].get_xydata() == pytest.approx(one.iloc[:, 1:].to_numpy())


def test_there_is_a_calibration_curve_per_class_and_the_diagonal():
    lines = plots.calibration_figure(points(["tulip", "rose"])).axes[0].get_lines()

    assert [line.get_label() for line in lines] == ["tulip", "rose", "if probabilities are true"]
    assert lines[0].get_xydata().tolist() == [[0.1, 0.2], [0.9, 1]]


def test_there_is_a_bar_per_class_and_feature_and_the_first_feature_is_on_top():
    table = weights(["a", "bb", "ccc"], ["x", "y"])

    figure = plots.feature_figure(table)

    axes = figure.axes[0]
    assert [bar.get_width() for bar in axes.patches] == table["weight"].tolist()
    assert [tick.get_text() for tick in axes.get_yticklabels()] == ["a", "bb", "ccc"]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["x", "y"]
    pixels = [axes.transData.transform((0, bar.get_y()))[1] for bar in axes.patches[:3]]
    assert pixels == sorted(pixels, reverse=True)


def test_of_many_features_those_with_the_largest_weights_are_shown():
    features = [f"f{number}" for number in range(1000)]
    table = pd.DataFrame({"class": "x", "feature": features, "weight": [float(-number) for number in range(1000)]})

    figure = plots.feature_figure(table)

    axes = figure.axes[0]
    assert [tick.get_text() for tick in axes.get_yticklabels()] == features[-plots.LARGEST :]
    assert axes.get_title() == f"Coefficients (of standardised features)\nthe {plots.LARGEST} largest of 1000"


@pytest.mark.parametrize("name", HOSTILE)
def test_any_name_is_shown_as_it_stands(name):
    pairs = read_back(pd.DataFrame({"actual": [name, "other"], "predicted": [name, name]}))

    assert name in drawn_texts(plots.confusion_figure(pairs))
    assert f"{name} (AUC 0.750)" in drawn_texts(plots.roc_figure(curves([name, "other"])))
    assert name in drawn_texts(plots.calibration_figure(points([name, "other"])))
    assert {f"{name}.feature", f"{name}.class"} < set(
        drawn_texts(plots.feature_figure(weights([f"{name}.feature"], [f"{name}.class"])))
    )


@pytest.mark.parametrize(
    ("draw", "table"),
    [
        (plots.confusion_figure, pd.DataFrame({"actual": ["a<b", "c", "c"], "predicted": ["a<b", "c", "a<b"]})),
        (plots.roc_figure, curves(["a<b", "c"])),
        (plots.calibration_figure, points(["a<b", "c"])),
        (plots.feature_figure, weights(["a<b"], ["c", "d"])),
    ],
)
def test_a_figure_is_one_svg_element_and_always_the_same(draw, table):
    texts = {plots.svg(draw(table)) for _ in range(2)}

    (text,) = texts
    assert text.startswith("<svg")
    assert text.strip().endswith("</svg>")
    assert "<dc:date>" not in text
