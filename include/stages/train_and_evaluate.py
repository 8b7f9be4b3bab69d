"""Stage `train_and_evaluate`: fit the model, score it, and track both in one MLflow run."""

import io
from pathlib import Path
from typing import TYPE_CHECKING

from include.errors import exit_with_message
from include.models.pipeline import fit
from include.settings import PipelineConfig, load_runtime_settings
from include.settings.config_file import load_config
from include.stages.files import write_bytes, write_csv, write_json
from include.stages.plots import PLOTS
from include.stages.score import class_report, prediction_table, score
from include.tables.columns import as_labels
from include.tables.parquet_file import read_parquet, write_parquet

if TYPE_CHECKING:
    import pandas as pd


def main() -> None:
    """Read the two parts, write model, metrics, predictions, plots and the MLflow run's id."""
    import joblib

    from include.stages import tracking

    config = load_config(Path.cwd())
    train = _read(config, config.paths.train_data)
    pipeline = fit(*train, config.model)
    test = _read(config, config.paths.test_data)
    scores = {"train": score(pipeline, *train), "test": score(pipeline, *test)}
    details = class_report(test[1], pipeline.predict(test[0]))
    predicted = prediction_table(pipeline, *test)
    tables = {plot: plot.table(pipeline, *test) for plot in PLOTS}
    model = io.BytesIO()
    joblib.dump(pipeline, model)
    with tracking.run(config, load_runtime_settings()) as tracked:
        tracked.log(config, pipeline, train, test, scores, details, tables)
        # Inside the block: an MLflow run whose results could not be written is a failed one.
        write_bytes(config.paths.model, model.getvalue())
        write_json(config.paths.metrics, scores)
        write_json(config.paths.classification_report, details)
        write_parquet(config.paths.test_predictions, predicted)
        for plot, table in tables.items():
            write_csv(plot.file(config.paths.plots), table)
        write_json(config.paths.mlflow_run, tracked.identity)
    print(f"test accuracy {scores['test']['accuracy']:.4f}, MLflow run {tracked.identity['run_id']}")


def _read(config: PipelineConfig, path: str) -> tuple["pd.DataFrame", "pd.Series"]:
    features = read_parquet(path)
    return features, as_labels(features.pop(config.data.target))


if __name__ == "__main__":
    with exit_with_message():
        main()
