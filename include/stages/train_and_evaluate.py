"""Stage `train_and_evaluate`: fit the model, score it, and track both in one MLflow run."""

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

from include.config_file import load_config
from include.errors import ConfigError, DataError, exit_with_message
from include.settings import ModelConfig, PipelineConfig, load_runtime_settings
from include.stages.files import read_csv, write_bytes, write_csv, write_json

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from sklearn.pipeline import Pipeline


def build(model: ModelConfig) -> "Pipeline":
    """Make the unfitted scikit-learn pipeline: impute (median), scale, logistic regression."""
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import StandardScaler

    return Pipeline(
        [
            ("impute", SimpleImputer(strategy="median", keep_empty_features=True)),
            ("scale", StandardScaler()),
            ("classify", LogisticRegression(**model.model_dump())),
        ]
    )


def fit(features: "pd.DataFrame", target: "pd.Series", model: ModelConfig) -> "Pipeline":
    """Fit the pipeline.

    :param features: shape (rows, features), numeric.
    :param target: shape (rows,), the class of each row.
    :raises ConfigError: the hyperparameters do not fit each other or the data.
    """
    try:
        return build(model).fit(features, target)
    except ValueError as error:
        raise ConfigError(f"config/config.yaml, model: {error}") from None


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
        raise DataError(f"the rows to score on are all of class {classes[0]!r}: no ROC can be measured on them.")
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


def report(target: "pd.Series", predicted: "np.ndarray") -> dict[str, Any]:
    """scikit-learn's full classification report, as a dict."""
    from sklearn.metrics import classification_report

    return dict(classification_report(target, predicted, output_dict=True, zero_division=0))


def main() -> None:
    """Read the two parts, write model, metrics, plots and the MLflow run's id."""
    import joblib
    import pandas as pd

    from include.stages import tracking
    from include.stages.plots import coefficient_table, roc_table

    config = load_config(Path.cwd())
    train, test = _read_parts(config)
    pipeline = fit(*train, config.model)
    predicted = pipeline.predict(test[0])
    scores = {"train": score(pipeline, *train), "test": score(pipeline, *test)}
    details = report(test[1], predicted)
    tables = {
        config.paths.confusion_matrix: pd.DataFrame({"actual": test[1].to_numpy(), "predicted": predicted}),
        config.paths.roc_curve: roc_table(pipeline, *test),
        config.paths.coefficients: coefficient_table(pipeline, test[0]),
    }
    model = io.BytesIO()
    joblib.dump(pipeline, model)
    with tracking.run(config, load_runtime_settings()) as tracked:
        tracked.log(config, pipeline, train, test, scores, details, list(tables.values()))
        # Inside the block: an MLflow run whose results could not be written is a failed one.
        write_bytes(config.paths.model, model.getvalue())
        write_json(config.paths.metrics, {**scores, "classification_report": details})
        for path, table in tables.items():
            write_csv(path, table)
        write_json(config.paths.mlflow_run, tracked.identity)
    print(f"test accuracy {scores['test']['accuracy']:.4f}, MLflow run {tracked.identity['run_id']}")


def _read_parts(config: PipelineConfig) -> list[tuple["pd.DataFrame", "pd.Series"]]:
    parts = []
    for path in (config.paths.train_data, config.paths.test_data):
        frame = read_csv(path)
        if config.data.target not in frame.columns:
            raise DataError(f"{path}: no column {config.data.target!r} (data.target).")
        # Classes are compared as text: 0 and "0" are one class, whatever a part happens to hold.
        parts.append((frame.drop(columns=config.data.target).astype(float), frame[config.data.target].astype(str)))
    return parts


if __name__ == "__main__":
    with exit_with_message():
        main()
