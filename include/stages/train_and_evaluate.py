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

    :return: accuracy, precision_macro, recall_macro, f1_macro and roc_auc_ovr (0 to 1, higher is better), and
        log_loss (nats per row, lower is better).
    """
    from sklearn import metrics

    predicted, probabilities = pipeline.predict(features), pipeline.predict_proba(features)
    precision, recall, f1, _ = metrics.precision_recall_fscore_support(
        target, predicted, average="macro", zero_division=0
    )
    classes = pipeline.classes_
    positive = probabilities[:, 1] if len(classes) == 2 else probabilities
    return {
        "accuracy": float(metrics.accuracy_score(target, predicted)),
        "precision_macro": float(precision),
        "recall_macro": float(recall),
        "f1_macro": float(f1),
        "roc_auc_ovr": float(metrics.roc_auc_score(target, positive, multi_class="ovr", labels=classes)),
        "log_loss": float(metrics.log_loss(target, probabilities, labels=classes)),
    }


def report(target: "pd.Series", predicted: "np.ndarray") -> dict[str, Any]:
    """scikit-learn's full classification report, as a dict."""
    from sklearn.metrics import classification_report

    return classification_report(target, predicted, output_dict=True, zero_division=0)


def main() -> None:
    """Read the two parts, write model, metrics, confusion matrix and the MLflow run's id."""
    import joblib
    import pandas as pd

    from include.stages import tracking

    config = load_config(Path.cwd())
    train, test = _read_parts(config)
    pipeline = fit(*train, config.model)
    predicted = pipeline.predict(test[0])
    scores = {"train": score(pipeline, *train), "test": score(pipeline, *test)}
    details = report(test[1], predicted)
    confusion = pd.DataFrame({"actual": test[1].to_numpy(), "predicted": predicted})
    model = io.BytesIO()
    joblib.dump(pipeline, model)
    with tracking.run(config, load_runtime_settings()) as tracked:
        tracked.log(config, pipeline, train, test, scores, details, confusion)
        # Inside the block: an MLflow run whose results could not be written is a failed one.
        write_bytes(config.paths.model, model.getvalue())
        write_json(config.paths.metrics, {**scores, "classification_report": details})
        write_csv(config.paths.confusion_matrix, confusion)
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
