"""Stage `train_and_evaluate`: fit the model, score it, and track both in one MLflow run."""

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

from include.errors import ConfigError, DataError, exit_with_message
from include.settings import ModelConfig, PipelineConfig, load_runtime_settings
from include.settings.config_file import load_config
from include.stages.files import read_csv, write_bytes, write_csv, write_json
from include.stages.plots import PLOTS
from include.stages.score import score

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


def report(target: "pd.Series", predicted: "np.ndarray") -> dict[str, Any]:
    """scikit-learn's full classification report, as a dict."""
    from sklearn.metrics import classification_report

    return dict(classification_report(target, predicted, output_dict=True, zero_division=0))


def main() -> None:
    """Read the two parts, write model, metrics, plots and the MLflow run's id."""
    import joblib

    from include.stages import tracking

    config = load_config(Path.cwd())
    train, test = _read_parts(config)
    pipeline = fit(*train, config.model)
    scores = {"train": score(pipeline, *train), "test": score(pipeline, *test)}
    details = report(test[1], pipeline.predict(test[0]))
    tables = {plot: plot.table(pipeline, *test) for plot in PLOTS}
    model = io.BytesIO()
    joblib.dump(pipeline, model)
    with tracking.run(config, load_runtime_settings()) as tracked:
        tracked.log(config, pipeline, train, test, scores, details, tables)
        # Inside the block: an MLflow run whose results could not be written is a failed one.
        write_bytes(config.paths.model, model.getvalue())
        write_json(config.paths.metrics, {**scores, "classification_report": details})
        for plot, table in tables.items():
            write_csv(plot.file(config.paths.plots), table)
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
