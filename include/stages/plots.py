"""The tables behind the plots of a trained model: ROC per class, and the learned coefficients."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd
    from sklearn.pipeline import Pipeline

INTERCEPT = "(intercept)"  # in place of a feature


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
    """The learned weights, and the intercepts if they were fitted.

    They belong to standardised features (mean 0, standard deviation 1 on the training rows): a weight is what one
    standard deviation adds to the class's log-odds, so that features in different units can be compared. Of two classes
    there is one set of weights, those of the second (LogisticRegression.coef_ in scikit-learn's reference).

    :return: a row per class and feature, the intercept last; columns class, feature, coefficient, and label (feature
        and class), for a bar in `dvc plots` has one name.
    """
    import numpy as np
    import pandas as pd

    model = pipeline[-1]
    classes = model.classes_ if len(model.coef_) > 1 else model.classes_[1:]
    names, columns = list(features.columns), model.coef_
    if model.fit_intercept:
        names, columns = [*names, INTERCEPT], np.column_stack([columns, model.intercept_])
    rows = [
        {"class": name, "feature": feature, "coefficient": float(weight), "label": f"{feature} ({name})"}
        for name, weights in zip(classes, columns, strict=True)
        for feature, weight in zip(names, weights, strict=True)
    ]
    return pd.DataFrame(rows)
