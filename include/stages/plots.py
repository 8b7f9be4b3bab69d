"""The plots of a trained model: for each a table, which `dvc plots` shows, and a figure, for MLflow and the report.

To add one: write its two functions, add it to `PLOTS`, and name its file in dvc.yaml.
"""

import io
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from include.models.pipeline import CLASSIFY, encoded_names
from include.stages.score import as_text

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure
    from sklearn.pipeline import Pipeline

INTERCEPT = "(intercept)"  # in place of a feature
LARGEST = 40  # features in the figure; more could neither be read nor drawn in time
POINTS = 2000  # of a ROC curve, at most
PERMUTED = 2000  # rows by which permutation importances are measured, at most
SHUFFLES = 5  # of each feature
BINS, ROWS_PER_BIN = 10, 10  # of a calibration curve: at most, and at least
TEXT = ("class", "actual", "predicted", "feature", "label")  # columns of the tables; a class may be called 01, or NA


class Plot(NamedTuple):
    """A plot: what makes its table of a fitted pipeline and the test rows, and its figure of that table."""

    name: str
    table: "Callable[[Pipeline, pd.DataFrame, pd.Series], pd.DataFrame]"
    figure: "Callable[[pd.DataFrame], Figure]"

    def file(self, folder: str) -> str:
        """Where its table is.

        :param folder: `paths.plots` of the configuration.
        """
        return f"{folder}/{self.name}.csv"


def confusion_table(pipeline: "Pipeline", features: "pd.DataFrame", target: "pd.Series") -> "pd.DataFrame":
    """What each row is, and what it was taken for.

    :return: a row per test row; columns actual, predicted.
    """
    import pandas as pd

    return pd.DataFrame({"actual": as_text(target), "predicted": as_text(pipeline.predict(features))})


def roc_table(pipeline: "Pipeline", features: "pd.DataFrame", target: "pd.Series") -> "pd.DataFrame":
    """The ROC curve of each class against the rest.

    :return: a row per threshold, curves one after the other; columns class, false_positive_rate, true_positive_rate.
    """
    import numpy as np
    import pandas as pd
    from sklearn.metrics import roc_curve

    probabilities = pipeline.predict_proba(features)
    curves = []
    for number, name in enumerate(as_text(pipeline.classes_)):
        false, true, _ = roc_curve(as_text(target) == name, probabilities[:, number])
        if len(false) > POINTS:
            some = np.linspace(0, len(false) - 1, POINTS).round().astype(int)
            false, true = false[some], true[some]
        curves.append(pd.DataFrame({"class": name, "false_positive_rate": false, "true_positive_rate": true}))
    return pd.concat(curves, ignore_index=True)


def calibration_table(pipeline: "Pipeline", features: "pd.DataFrame", target: "pd.Series") -> "pd.DataFrame":
    """How often a class is true where the model says that it is, with some probability.

    Of each class, rows with similar probabilities are one point: up to `BINS` groups of equal size, and fewer where
    that would leave less than `ROWS_PER_BIN` rows in each. Rows with the same probability are in the same one.

    :return: a row per point, curves one after the other; columns class, probability (mean), share (of rows that are of
        the class), rows.
    """
    import numpy as np
    import pandas as pd

    probabilities, actual = pipeline.predict_proba(features), as_text(target)
    bins = min(BINS, max(1, len(actual) // ROWS_PER_BIN))
    curves = []
    for number, name in enumerate(as_text(pipeline.classes_)):
        said = probabilities[:, number]
        edges = np.unique(np.quantile(said, np.arange(1, bins) / bins))
        _, bin_of, rows = np.unique(np.searchsorted(edges, said), return_inverse=True, return_counts=True)
        means = {"probability": said, "share": actual == name}
        points = {column: np.bincount(bin_of, values) / rows for column, values in means.items()}
        curves.append(pd.DataFrame({"class": name, **points, "rows": rows}))
    return pd.concat(curves, ignore_index=True)


def feature_table(pipeline: "Pipeline", features: "pd.DataFrame", target: "pd.Series") -> "pd.DataFrame":
    """What each feature contributes: the learned weights where the model has some, else permutation importances.

    :return: a row per feature (and class); columns class, feature, weight, and label (feature and class), for a bar in
        `dvc plots` has one name.
    """
    has_weights = CLASSIFY in pipeline.named_steps and hasattr(pipeline[CLASSIFY], "coef_")
    return coefficient_table(pipeline) if has_weights else importance_table(pipeline, features, target)


def coefficient_table(pipeline: "Pipeline") -> "pd.DataFrame":
    """The learned weights, and the intercepts if they were fitted.

    They belong to standardised features (mean 0, standard deviation 1 on the training rows): a weight is what one
    standard deviation adds to the class's log-odds, so that features in different units can be compared. A category is
    a feature of its own, 0 or 1. Of two classes there is one set of weights, those of the second
    (LogisticRegression.coef_ in scikit-learn's reference).

    :return: see `feature_table`; a row per class and feature, the intercept last.
    """
    import numpy as np
    import pandas as pd

    model = pipeline[CLASSIFY]
    classes = as_text(model.classes_ if len(model.coef_) > 1 else model.classes_[1:])
    names, columns = encoded_names(pipeline), model.coef_
    if model.fit_intercept:
        names, columns = [*names, INTERCEPT], np.column_stack([columns, model.intercept_])
    rows = [
        {"class": name, "feature": feature, "weight": float(weight), "label": f"{feature} ({name})"}
        for name, weights in zip(classes, columns, strict=True)
        for feature, weight in zip(names, weights, strict=True)
    ]
    return pd.DataFrame(rows)


def importance_table(pipeline: "Pipeline", features: "pd.DataFrame", target: "pd.Series") -> "pd.DataFrame":
    """How much accuracy is lost where a feature's values are shuffled among the rows.

    :return: see `feature_table`; a row per column of the table, the class is empty.
    """
    import pandas as pd
    from sklearn.inspection import permutation_importance

    some = features.sample(min(len(features), PERMUTED), random_state=0)
    times = SHUFFLES if len(features.columns) <= LARGEST else 1
    found = permutation_importance(pipeline, some, target.loc[some.index], n_repeats=times, random_state=0)
    rows = zip(features.columns, found.importances_mean, strict=True)
    return pd.DataFrame(
        [{"class": "", "feature": name, "weight": float(weight), "label": name} for name, weight in rows]
    )


def read_table(content: bytes) -> "pd.DataFrame":
    """Read the table of a plot."""
    import pandas as pd

    return pd.read_csv(io.BytesIO(content), dtype=dict.fromkeys(TEXT, str), keep_default_na=False)


def confusion_figure(table: "pd.DataFrame") -> "Figure":
    """How often each class was taken for which.

    :param table: a row per test row; columns actual, predicted.
    """
    import numpy as np

    # What scikit-learn's ConfusionMatrixDisplay draws; to import that takes longer than to draw.
    actual, predicted = table["actual"].map(_plain), table["predicted"].map(_plain)
    names, codes = np.unique(np.concatenate([actual, predicted]).astype(str), return_inverse=True)
    counts = np.zeros((len(names), len(names)), dtype=int)
    np.add.at(counts, (codes[: len(table)], codes[len(table) :]), 1)
    figure = _figure("Confusion matrix (test)")
    axes = figure.axes[0]
    image = axes.imshow(counts)
    for (row, column), count in np.ndenumerate(counts):
        shade = 1.0 if count < (counts.max() + counts.min()) / 2 else 0
        text = min(f"{count:.2g}", str(count), key=len)
        axes.text(column, row, text, ha="center", va="center", color=image.cmap(shade))
    figure.colorbar(image, ax=axes)
    axes.set_xticks(range(len(names)), names, rotation=45)
    axes.set_yticks(range(len(names)), names)
    axes.set(xlabel="Predicted label", ylabel="True label")
    return figure


def roc_figure(table: "pd.DataFrame") -> "Figure":
    """The ROC curve of each class against the rest.

    :param table: a row per threshold; columns class, false_positive_rate, true_positive_rate.
    """
    import numpy as np

    figure = _figure("ROC per class (test)")
    axes = figure.axes[0]
    for name, curve in table.groupby("class", sort=False):
        rates = curve["false_positive_rate"], curve["true_positive_rate"]
        area = np.trapezoid(rates[1], rates[0])
        axes.plot(*rates, label=f"{_plain(name)} (AUC {area:.3f})")
    axes.plot([0, 1], [0, 1], color="grey", linestyle="dotted", label="by chance")
    axes.set(xlabel="false positive rate", ylabel="true positive rate")
    lines = axes.get_lines()  # named, for matplotlib by itself leaves out a label that begins with an underscore
    axes.legend(lines, [str(line.get_label()) for line in lines], loc="lower right")
    return figure


def calibration_figure(table: "pd.DataFrame") -> "Figure":
    """How often each class is true where the model says so with some probability.

    :param table: a row per point; columns class, probability, share.
    """
    figure = _figure("Calibration per class (test)")
    axes = figure.axes[0]
    for name, curve in table.groupby("class", sort=False):
        axes.plot(curve["probability"], curve["share"], marker="o", label=_plain(name))
    axes.plot([0, 1], [0, 1], color="grey", linestyle="dotted", label="if probabilities are true")
    axes.set(xlabel="probability that the model gives", ylabel="share of rows of the class")
    lines = axes.get_lines()
    axes.legend(lines, [str(line.get_label()) for line in lines], loc="upper left")
    return figure


def feature_figure(table: "pd.DataFrame") -> "Figure":
    """What each feature contributes, per class; of many features, those that contribute most.

    :param table: a row per class and feature, every class with the same features; columns class, feature, weight.
    """
    total = table["feature"].nunique(dropna=False)
    table = _largest(table)
    groups = list(table.groupby("class", sort=False))
    features = groups[0][1]["feature"]
    some = f"\nthe {LARGEST} largest of {total}" if total > LARGEST else ""
    height = max(4.0, 1 + 0.18 * len(features), 0.05 * len(table))
    has_classes = groups[0][0] != ""
    what = "Coefficients (of standardised features)" if has_classes else "Permutation importances (loss of accuracy)"
    figure = _figure(f"{what}{some}", min(height, 100))
    axes = figure.axes[0]
    thick = 0.8 / len(groups)
    bars = [
        axes.barh([place - 0.4 + thick * (number + 0.5) for place in range(len(rows))], rows["weight"], thick)[0]
        for number, (_, rows) in enumerate(groups)
    ]
    axes.set_yticks(range(len(features)), [_plain(feature) for feature in features])
    axes.invert_yaxis()  # the first feature on top
    axes.axvline(0, color="grey", linewidth=0.8)
    if has_classes:
        figure.legend(bars, [_plain(name) for name, _ in groups], loc="outside lower center", ncols=3)
    return figure


def _largest(table: "pd.DataFrame") -> "pd.DataFrame":
    """The rows of the features that have the largest weight, of whatever sign, for any class; in the order given."""
    weights = table["weight"].abs().groupby(table["feature"], dropna=False).max()
    return table[table["feature"].isin(weights.nlargest(LARGEST).index)]


def svg(figure: "Figure") -> str:
    """The figure as an SVG element, to be put into a page; the same figure gives the same text."""
    from matplotlib import rc_context

    stream = io.StringIO()
    with rc_context({"svg.hashsalt": "figure"}):
        figure.savefig(stream, format="svg", metadata={"Date": None})
    text = stream.getvalue()
    return text[text.index("<svg") :]


def _figure(title: str, height: float = 4.0) -> "Figure":
    """An empty figure.

    :param height: in inches; the width is 5.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5, height), layout="constrained")  # not pyplot: no display, no global state
    figure.subplots().set_title(title)
    return figure


def _plain(name: object) -> str:
    """A class or feature as text that matplotlib shows as it stands: between two dollars it would read a formula."""
    return str(name).replace("$", r"\$")


PLOTS = (
    Plot("confusion_matrix", confusion_table, confusion_figure),
    Plot("roc_curve", roc_table, roc_figure),
    Plot("features", feature_table, feature_figure),
    Plot("calibration", calibration_table, calibration_figure),
)
