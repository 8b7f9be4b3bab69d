"""How good a fitted pipeline is on some rows, and the names of these metrics."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from include.errors import DataError

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from sklearn.pipeline import Pipeline

PARTS = ("train", "test")
PIECE = 100_000  # rows
PROBABILITY = "probability of "  # before the name of a class, in a table of predictions


def metrics_by_name(scores: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """``{"test": {"accuracy": 0.9}}`` -> ``{"test_accuracy": 0.9}``, as MLflow, the gate and the manifest have it."""
    return {f"{part}_{name}": value for part in PARTS for name, value in scores.get(part, {}).items()}


def score(pipeline: "Pipeline", features: "pd.DataFrame", target: "pd.Series") -> dict[str, float]:
    """Measure the fitted pipeline on some rows.

    The rows may be of other classes than the model knows: a champion is scored on later data. ROC and log loss are then
    measured over the classes of the rows. Classes are compared as text: a champion may have been trained on 1 as text,
    and be scored on the number.

    :return: accuracy, precision_macro, recall_macro, f1_macro and roc_auc_ovr (0 to 1, higher is better), and
        log_loss (nats per row) and brier (0 to 1, see `brier_score`), of which lower is better.
    :raises DataError: the rows are of one class only.
    """
    from sklearn import metrics

    found, probabilities = predictions(pipeline, features)
    predicted, actual = as_text(found), as_text(target)
    precision, recall, f1, _ = metrics.precision_recall_fscore_support(
        actual, predicted, average="macro", zero_division=0
    )
    classes = sorted(map(str, set(actual)))
    if len(classes) < 2:
        raise DataError(f"all rows are of class {classes[0]!r}: the ROC AUC is undefined for them.")
    probabilities = aligned(probabilities, list(as_text(pipeline.classes_)), classes)
    positive = probabilities[:, 1] if len(classes) == 2 else probabilities
    return {
        "accuracy": float(metrics.accuracy_score(actual, predicted)),
        "precision_macro": float(precision),
        "recall_macro": float(recall),
        "f1_macro": float(f1),
        "roc_auc_ovr": float(metrics.roc_auc_score(actual, positive, multi_class="ovr", labels=classes)),
        "log_loss": float(metrics.log_loss(actual, probabilities, labels=classes)),
        "brier": brier_score(actual, probabilities, classes),
    }


def brier_score(actual: "np.ndarray", probabilities: "np.ndarray", classes: list[str]) -> float:
    """Half the mean squared distance between probabilities and truth, 0 to 1 (Brier 1950, Monthly Weather Review 78).

    Of two classes it is the mean squared error of the probability of one of them.

    :param probabilities: shape (rows, classes).
    """
    truth = actual[:, None] == [classes]
    return float(((probabilities - truth) ** 2).sum(axis=1).mean() / 2)


def prediction_table(pipeline: "Pipeline", features: "pd.DataFrame", target: "pd.Series") -> "pd.DataFrame":
    """What each row is and what the model says of it, so that models can be compared without being loaded.

    :return: a row per row, in their order; columns actual and predicted (the classes as text), and for each class that
        the model knows, in their order, `PROBABILITY` and its name.
    """
    import pandas as pd

    found, probabilities = predictions(pipeline, features)
    classes = [f"{PROBABILITY}{name}" for name in as_text(pipeline.classes_)]
    texts = {"actual": as_text(target), "predicted": as_text(found)}
    return pd.concat([pd.DataFrame(texts), pd.DataFrame(probabilities, columns=classes)], axis=1)


def as_text(labels: "pd.Series | np.ndarray") -> "np.ndarray":
    """Classes as text, of whatever type they are; 1.0 is 1, for a gap in a column makes floats of its integers."""
    import numpy as np

    values = np.asarray(labels)
    if values.dtype.kind == "f" and (values % 1 == 0).all():
        values = values.astype("int64")
    return values.astype(str)


def predictions(pipeline: "Pipeline", features: "pd.DataFrame") -> tuple["np.ndarray", "np.ndarray"]:
    """The class of each row, and the probabilities: shapes (rows,) and (rows, classes).

    Piece by piece, for each step of a pipeline makes a copy of its rows.
    """
    import numpy as np

    pieces = [features.iloc[start : start + PIECE] for start in range(0, len(features), PIECE)]
    found = [(pipeline.predict(piece), pipeline.predict_proba(piece)) for piece in pieces]
    return np.concatenate([one for one, _ in found]), np.concatenate([two for _, two in found])


def class_report(target: "pd.Series", predicted: "np.ndarray") -> dict[str, Any]:
    """Precision, recall, F1 and rows of each class, and their averages.

    Like scikit-learn's `classification_report`, but classes apart: one may be called "accuracy".
    """
    from sklearn.metrics import accuracy_score, precision_recall_fscore_support

    actual, taken = as_text(target), as_text(predicted)
    labels = sorted({*actual, *taken})
    names = ("precision", "recall", "f1", "rows")
    by_class = zip(*precision_recall_fscore_support(actual, taken, labels=labels, zero_division=0), strict=True)
    averages = {
        average: precision_recall_fscore_support(actual, taken, average=average, zero_division=0)[:3]
        for average in ("macro", "weighted")
    }
    return {
        "accuracy": float(accuracy_score(actual, taken)),
        "averages": {name: dict(zip(names, map(float, found), strict=False)) for name, found in averages.items()},
        "classes": {
            label: dict(zip(names, [*map(float, found[:3]), int(found[3])], strict=True))
            for label, found in zip(labels, by_class, strict=True)
        },
    }


def aligned(probabilities: "np.ndarray", known: list[str], wanted: list[str]) -> "np.ndarray":
    """The probabilities of other classes than the model's: of unknown ones it is 0, and the rest adds up to 1.

    :param probabilities: shape (rows, known classes).
    :return: shape (rows, wanted classes); a row of which the model wanted none is uniform.
    """
    import numpy as np

    if known == wanted:
        return probabilities
    nothing = np.zeros(len(probabilities))
    picked = np.column_stack([probabilities[:, known.index(name)] if name in known else nothing for name in wanted])
    sums = picked.sum(axis=1, keepdims=True)
    return np.where(sums > 0, picked / np.where(sums > 0, sums, 1), 1 / len(wanted))
