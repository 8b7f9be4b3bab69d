"""The plots of a trained model, drawn from the tables that the stage writes."""

import io
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

LARGEST = 40  # features in the figure of the coefficients; more could neither be read nor drawn in time


def confusion_matrix(table: "pd.DataFrame") -> "Figure":
    """How often each class was taken for which.

    :param table: a row per test row; columns actual, predicted.
    """
    from sklearn.metrics import ConfusionMatrixDisplay

    figure = _figure("Confusion matrix (test)")
    ConfusionMatrixDisplay.from_predictions(
        table["actual"].map(_plain), table["predicted"].map(_plain), ax=figure.axes[0], xticks_rotation=45
    )
    return figure


def roc_curve(table: "pd.DataFrame") -> "Figure":
    """The ROC curve of each class against the rest.

    :param table: a row per threshold; columns class, false_positive_rate, true_positive_rate.
    """
    from sklearn.metrics import auc

    figure = _figure("ROC per class (test)")
    axes = figure.axes[0]
    for name, curve in table.groupby("class", sort=False):
        rates = curve["false_positive_rate"], curve["true_positive_rate"]
        axes.plot(*rates, label=f"{_plain(name)} (AUC {auc(*rates):.3f})")
    axes.plot([0, 1], [0, 1], color="grey", linestyle="dotted", label="by chance")
    axes.set(xlabel="false positive rate", ylabel="true positive rate")
    lines = axes.get_lines()  # named, for matplotlib by itself leaves out a label that begins with an underscore
    axes.legend(lines, [str(line.get_label()) for line in lines], loc="lower right")
    return figure


def coefficients(table: "pd.DataFrame") -> "Figure":
    """The learned weight of each feature, per class; of many features, those with the largest weights.

    :param table: a row per class and feature, every class with the same features; columns class, feature, coefficient.
    """
    total = table["feature"].nunique(dropna=False)
    table = _largest(table)
    groups = list(table.groupby("class", sort=False))
    features = groups[0][1]["feature"]
    some = f"\nthe {LARGEST} largest of {total}" if total > LARGEST else ""
    height = max(4.0, 1 + 0.18 * len(features), 0.05 * len(table))
    figure = _figure(f"Coefficients (of standardised features){some}", min(height, 100))
    axes = figure.axes[0]
    thick = 0.8 / len(groups)
    bars = [
        axes.barh([place - 0.4 + thick * (number + 0.5) for place in range(len(rows))], rows["coefficient"], thick)[0]
        for number, (_, rows) in enumerate(groups)
    ]
    axes.set_yticks(range(len(features)), [_plain(feature) for feature in features])
    axes.invert_yaxis()  # the first feature on top
    axes.axvline(0, color="grey", linewidth=0.8)
    figure.legend(bars, [_plain(name) for name, _ in groups], loc="outside lower center", ncols=3)
    return figure


def _largest(table: "pd.DataFrame") -> "pd.DataFrame":
    """The rows of the features that have the largest weight, of whatever sign, for any class; in the order given."""
    weights = table["coefficient"].abs().groupby(table["feature"], dropna=False).max()
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
