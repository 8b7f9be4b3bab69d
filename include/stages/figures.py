"""The plots of a trained model, drawn from the tables that the stage writes."""

import io
from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    Draw = Callable[[pd.DataFrame], Figure]


def _names_as_they_are(draw: "Draw") -> "Draw":
    """Matplotlib would take names with dollar signs for formulas."""

    @wraps(draw)
    def drawn(table: "pd.DataFrame") -> "Figure":
        from matplotlib import rc_context

        with rc_context({"text.parse_math": False}):
            return draw(table)

    return drawn


@_names_as_they_are
def confusion_matrix(table: "pd.DataFrame") -> "Figure":
    """How often each class was taken for which.

    :param table: a row per test row; columns actual, predicted.
    """
    from sklearn.metrics import ConfusionMatrixDisplay

    figure = _figure("Confusion matrix (test)")
    ConfusionMatrixDisplay.from_predictions(
        table["actual"].astype(str), table["predicted"].astype(str), ax=figure.axes[0], xticks_rotation=45
    )
    return figure


@_names_as_they_are
def roc_curve(table: "pd.DataFrame") -> "Figure":
    """The ROC curve of each class against the rest.

    :param table: a row per threshold; columns class, false_positive_rate, true_positive_rate.
    """
    from sklearn.metrics import auc

    figure = _figure("ROC per class (test)")
    axes = figure.axes[0]
    for name, curve in table.groupby("class", sort=False):
        rates = curve["false_positive_rate"], curve["true_positive_rate"]
        axes.plot(*rates, label=f"{_legend(name)} (area {auc(*rates):.3f})")
    axes.plot([0, 1], [0, 1], color="grey", linestyle="dotted", label="by chance")
    axes.set(xlabel="false positive rate", ylabel="true positive rate")
    axes.legend(loc="lower right")
    return figure


@_names_as_they_are
def coefficients(table: "pd.DataFrame") -> "Figure":
    """The learned weight of each feature, per class.

    :param table: a row per class and feature; columns class, feature, coefficient.
    """
    wide = table.pivot(index="feature", columns="class", values="coefficient")
    wide = wide.loc[table["feature"].drop_duplicates()[::-1], table["class"].drop_duplicates()]
    figure = _figure("Coefficients (of standardised features)", height=max(4.0, 0.05 * wide.size))
    axes = figure.axes[0]
    height = 0.8 / len(wide.columns)
    for number, name in enumerate(wide.columns):
        places = [place + 0.4 - height * (number + 0.5) for place in range(len(wide))]
        axes.barh(places, wide[name], height, label=_legend(name))
    axes.set_yticks(range(len(wide)), [str(feature) for feature in wide.index])
    axes.axvline(0, color="grey", linewidth=0.8)
    axes.legend()
    return figure


def svg(figure: "Figure") -> str:
    """The figure as an SVG element, to be put into a page; the same figure gives the same text."""
    from matplotlib import rc_context

    stream = io.StringIO()
    with rc_context({"svg.hashsalt": "figure"}):
        figure.savefig(stream, format="svg", metadata={"Date": None})
    text = stream.getvalue()
    return text[text.index("<svg") :]


def _legend(name: object) -> str:
    """Matplotlib leaves names that begin with an underscore out of legends; a zero-width space helps."""
    return f"\u200b{name}" if str(name).startswith("_") else str(name)


def _figure(title: str, height: float = 4.0) -> "Figure":
    """An empty figure.

    :param height: in inches; the width is 5.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5, height), layout="constrained")  # not pyplot: no display, no global state
    figure.subplots().set_title(title)
    return figure
