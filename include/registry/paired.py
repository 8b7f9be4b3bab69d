"""Two models' answers on the same rows, and the metrics of each. NumPy alone, so that the gate needs no scikit-learn.

The metrics are those of `include.stages.score.score`: on all test rows they give the same values.
"""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

from include.settings import LOWER_IS_BETTER

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Integers = NDArray[np.int64]

COUNTED = frozenset({"accuracy", "precision_macro", "recall_macro", "f1_macro"})  # by the cells of confusion matrices
AVERAGED = frozenset({"log_loss", "brier"})  # means of a value per row


@dataclass(frozen=True)
class Answers:
    """A model's answers to some rows.

    :param predicted: the class of each row, as its place among `Rows.classes`; shape (rows,).
    :param probabilities: of the classes that the rows are of; shape (rows, `Rows.actual_classes`), each row adds up to
        1.
    """

    predicted: "Integers"
    probabilities: "Floats"


@dataclass(frozen=True)
class Rows:
    """What some test rows are.

    :param classes: their classes as text, and after them the classes that a model merely predicted.
    :param actual_classes: how many of `classes` the test rows are of.
    :param actual: the class of each row, as its place among `classes`; shape (rows,).
    """

    classes: tuple[str, ...]
    actual_classes: int
    actual: "Integers"

    def __len__(self) -> int:
        return len(self.actual)


@dataclass(frozen=True)
class Pair:
    """The answers of champion and challenger to the same rows."""

    rows: Rows
    champion: Answers
    challenger: Answers

    def __len__(self) -> int:
        return len(self.rows)

    def at(self, chosen: "NDArray[np.bool_]") -> "Pair":
        """The pair on some of the rows.

        :param chosen: shape (rows,).
        """
        rows = replace(self.rows, actual=self.rows.actual[chosen])
        return Pair(rows, *(_at(answers, chosen) for answers in (self.champion, self.challenger)))

    @cached_property
    def agree(self) -> bool:
        """Whether both predict the same class for each row."""
        return bool((self.champion.predicted == self.challenger.predicted).all())

    def same(self, metric: str) -> bool:
        """Whether the models' answers are the same, as far as a metric such as ``accuracy`` looks at them."""
        import numpy as np

        if metric in COUNTED:
            return self.agree
        return np.array_equal(self.champion.probabilities, self.challenger.probabilities)


def _at(answers: Answers, chosen: "NDArray[np.bool_]") -> Answers:
    return Answers(answers.predicted[chosen], answers.probabilities[chosen])


def value(metric: str, rows: Rows, answers: Answers) -> float:
    """A metric by its name without the part, such as ``accuracy``; NaN where the rows do not define it."""
    if metric in AVERAGED:
        return float(row_values(metric, rows, answers).mean())
    if metric == "roc_auc_ovr":
        return float(roc_auc(rows, answers)[0])
    counts = confusion_counts(rows, answers)
    return float(counted(metric, *(one[None, :] for one in counts))[0])


def better_by(metric: str, challenger: float, champion: float) -> float:
    """How much better the challenger's value is: negative if it is worse, whichever way the metric points."""
    return champion - challenger if f"test_{metric}" in LOWER_IS_BETTER else challenger - champion


def row_values(metric: str, rows: Rows, answers: Answers) -> "Floats":
    """What a row adds to a metric that is a mean: shape (rows,).

    Brier score: half the sum of squared differences between probabilities and truth, 0 to 1; of two classes it is the
    squared difference for one of them (Brier 1950, Monthly Weather Review 78). Log loss: natural logarithm, of
    probabilities that are at least a float's epsilon, as scikit-learn has it.
    """
    import numpy as np

    one_hot = np.eye(rows.actual_classes)[rows.actual]
    if metric == "brier":
        return np.asarray(0.5 * ((answers.probabilities - one_hot) ** 2).sum(axis=1))
    epsilon = np.finfo(np.float64).eps
    taken = answers.probabilities[np.arange(len(rows)), rows.actual]
    return np.asarray(-np.log(np.clip(taken, epsilon, 1 - epsilon)))


def confusion_counts(rows: Rows, answers: Answers) -> tuple["Floats", "Floats", "Floats"]:
    """How often each class is actual, predicted, and both at once: three of shape (classes,)."""
    import numpy as np

    size = len(rows.classes)
    hits = rows.actual[rows.actual == answers.predicted]
    return tuple(np.bincount(one, minlength=size).astype(float) for one in (rows.actual, answers.predicted, hits))  # type: ignore[return-value]


def counted(metric: str, actual: "Floats", predicted: "Floats", hits: "Floats") -> "Floats":
    """A metric that depends on counts per class alone, of many samples at once.

    Macro averages are over the classes that are actual or predicted in the sample, with 0 for 0/0, as scikit-learn has
    it.

    :param actual, predicted, hits: as `confusion_counts` gives them; shape (samples, classes).
    :return: shape (samples,).
    """
    import numpy as np

    if metric == "accuracy":
        return np.asarray(hits.sum(axis=1) / actual.sum(axis=1))
    above, below = _fraction(metric, actual, predicted, hits)
    shares = np.divide(above, below, out=np.zeros_like(above), where=below > 0)
    return np.asarray(shares.sum(axis=1) / ((actual + predicted) > 0).sum(axis=1))


def _fraction(metric: str, actual: "Floats", predicted: "Floats", hits: "Floats") -> tuple["Floats", "Floats"]:
    """Of which a macro average is the mean."""
    if metric == "f1_macro":
        return 2 * hits, actual + predicted
    return hits, predicted if metric == "precision_macro" else actual


def counted_influence(metric: str, rows: Rows, answers: Answers, actual: "Integers", predicted: "Integers") -> "Floats":
    """How a further row influences a macro average: the derivative by its counts (Efron's infinitesimal jackknife).

    :param actual, predicted: the classes of some rows; shape (some rows,).
    :return: shape (some rows,); over all rows of the data they add up to 0.
    """
    import numpy as np

    counts = confusion_counts(rows, answers)
    above, below = _fraction(metric, *counts)
    scale = below * ((counts[0] + counts[1]) > 0).sum()
    by_hit = np.divide(2.0 if metric == "f1_macro" else 1.0, scale, out=np.zeros_like(above), where=below > 0)
    by_row = np.divide(-above, scale * below, out=np.zeros_like(above), where=below > 0)
    found = np.where(actual == predicted, by_hit[actual], 0.0)
    if metric != "precision_macro":
        found += by_row[actual]
    if metric != "recall_macro":
        found += by_row[predicted]
    return np.asarray(found)


def roc_auc(rows: Rows, answers: Answers) -> tuple[float, "Floats"]:
    """The mean of the areas under the ROC curves of each class against the rest, and how each row influences it.

    The area is the share of pairs of a row of the class and another row that the probabilities put in the right order
    (a tie: half). A row's influence is its placement among the others, less their mean, over the share of its kind:
    Hanley and Hajian-Tilaki 1997; DeLong, DeLong and Clarke-Pearson 1988 (Biometrics 44).

    :return: the area (NaN if the rows are of one class), and shape (rows,); the influences add up to 0.
    """
    import numpy as np

    classes = scored_classes(rows)
    if not classes:
        return float("nan"), np.zeros(len(rows))
    influence, areas = np.zeros(len(rows)), []
    for number in classes:
        positive = rows.actual == number
        scores = answers.probabilities[:, number]
        ranks, own = midranks(scores), np.empty(len(rows))
        for kind in (positive, ~positive):
            own[kind] = midranks(scores[kind])
        others = np.where(positive, (~positive).sum(), positive.sum())
        below = (ranks - own) / others  # the share of the other kind that is below
        placement = np.where(positive, below, 1 - below)
        area = placement[positive].mean()
        areas.append(area)
        influence += (placement - area) / np.where(positive, positive.mean(), 1 - positive.mean())
    return float(np.mean(areas)), influence / len(classes)


def scored_classes(rows: Rows) -> list[int]:
    """The classes that have a ROC curve: some rows are of it, and some are not."""
    import numpy as np

    counts = np.bincount(rows.actual, minlength=rows.actual_classes)
    found = [number for number in range(rows.actual_classes) if 0 < counts[number] < len(rows)]
    # Of two classes the second, as scikit-learn has it; the first gives the same area.
    return found[1:] if rows.actual_classes == 2 else found


def wrong_classes(rows: Rows) -> tuple["Integers", "Integers", "Floats"]:
    """The classes of the rows, for each the most frequent other one, and their shares of the rows."""
    import numpy as np

    shares = np.bincount(rows.actual, minlength=len(rows.classes)) / len(rows)
    order = np.argsort(-shares, kind="stable")
    classes = np.flatnonzero(shares)
    return classes, np.where(classes == order[0], order[1], order[0]), shares[classes]


def midranks(values: "Floats") -> "Floats":
    """The rank of each value, from 1; equal ones share the mean of theirs."""
    import numpy as np

    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return np.asarray((last - (counts - 1) / 2)[inverse])
