"""The tables behind the plots of a trained model: ROC per class, and the learned coefficients."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd
    from sklearn.pipeline import Pipeline


def roc_table(pipeline: "Pipeline", features: "pd.DataFrame", target: "pd.Series") -> "pd.DataFrame":
    """The ROC curve of each class against the rest.

    :return: a row per threshold, curves one after the other; columns class, false_positive_rate, true_positive_rate.
    """
    import pandas as pd
    from sklearn.metrics import roc_curve

    probabilities = pipeline.predict_proba(features)
    curves = []
    for number, name in enumerate(pipeline.classes_):
        false, true, _ = roc_curve(target == name, probabilities[:, number])
        curves.append(pd.DataFrame({"class": name, "false_positive_rate": false, "true_positive_rate": true}))
    return pd.concat(curves, ignore_index=True)


def coefficient_table(pipeline: "Pipeline", features: "pd.DataFrame") -> "pd.DataFrame":
    """The learned weights, of standardised features: they can be compared with each other.

    Of two classes there is one set of weights, those of the second.

    :return: a row per class and feature; columns class, feature, coefficient, and label (feature and class).
    """
    import pandas as pd

    model = pipeline[-1]
    classes = model.classes_ if len(model.coef_) > 1 else model.classes_[1:]
    rows = [
        {"class": name, "feature": feature, "coefficient": float(weight), "label": f"{feature} ({name})"}
        for name, weights in zip(classes, model.coef_, strict=True)
        for feature, weight in zip(features.columns, weights, strict=True)
    ]
    return pd.DataFrame(rows)
