"""How good a fitted pipeline is on some rows, and the names of these metrics."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from include.errors import DataError

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from sklearn.pipeline import Pipeline

PARTS = ("train", "test")


def metrics_by_name(scores: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """``{"test": {"accuracy": 0.9}}`` -> ``{"test_accuracy": 0.9}``, as MLflow, the gate and the manifest have it."""
    return {f"{part}_{name}": value for part in PARTS for name, value in scores.get(part, {}).items()}


def score(pipeline: "Pipeline", features: "pd.DataFrame", target: "pd.Series") -> dict[str, float]:
    """Measure the fitted pipeline on some rows.

    The rows may be of other classes than the model knows: a champion is scored on later data. ROC and log loss are then
    measured over the classes of the rows.

    :return: accuracy, precision_macro, recall_macro, f1_macro and roc_auc_ovr (0 to 1, higher is better), and
        log_loss (nats per row, lower is better).
    :raises DataError: the rows are of one class only.
    """
    from sklearn import metrics

    predicted, probabilities = pipeline.predict(features), pipeline.predict_proba(features)
    precision, recall, f1, _ = metrics.precision_recall_fscore_support(
        target, predicted, average="macro", zero_division=0
    )
    classes = sorted(set(target))
    if len(classes) < 2:
        raise DataError(f"all rows are of class {classes[0]!r}: the ROC AUC is undefined for them.")
    probabilities = _aligned(probabilities, list(pipeline.classes_), classes)
    positive = probabilities[:, 1] if len(classes) == 2 else probabilities
    return {
        "accuracy": float(metrics.accuracy_score(target, predicted)),
        "precision_macro": float(precision),
        "recall_macro": float(recall),
        "f1_macro": float(f1),
        "roc_auc_ovr": float(metrics.roc_auc_score(target, positive, multi_class="ovr", labels=classes)),
        "log_loss": float(metrics.log_loss(target, probabilities, labels=classes)),
    }


def _aligned(probabilities: "np.ndarray", known: list[str], wanted: list[str]) -> "np.ndarray":
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
