"""The one MLflow run of a training: everything that is logged to it, in as few requests as possible."""

import hashlib
import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from include.mlflow_client import close_runs, connect, running_runs, translated_errors
from include.settings import PipelineConfig, RuntimeSettings
from include.stages.plots import Plot
from include.stages.score import metrics_by_name

if TYPE_CHECKING:
    import pandas as pd
    from mlflow import MlflowClient
    from mlflow.entities import Experiment
    from mlflow.models.model import ModelInfo
    from sklearn.pipeline import Pipeline

    Part = tuple[pd.DataFrame, pd.Series]

AIRFLOW_TASK = ("airflow.dag_id", "airflow.run_id", "airflow.task_id")
KIND, MACHINE_LEARNING = "mlflow.experimentKind", "custom_model_development"  # as MLflow's UI calls them
# What a scorer needs to load the model. MLflow would otherwise find out in a process of its own (5 to 12 s).
REQUIREMENTS = ("scikit-learn", "pandas", "numpy", "scipy", "joblib", "skops", "mlflow")
SOME_ROWS = 1000  # by which MLflow tells the types of columns


class TrackedRun:
    """An open MLflow run. ``identity`` names it: run_id, experiment_id, experiment, model_uri (once logged)."""

    def __init__(self, identity: dict[str, str]) -> None:
        self.identity = identity

    def log(
        self,
        config: PipelineConfig,
        pipeline: "Pipeline",
        train: "Part",
        test: "Part",
        scores: Mapping[str, Mapping[str, float]],
        report: Mapping[str, Any],
        plots: "Mapping[Plot, pd.DataFrame]",
    ) -> None:
        """Log hyperparameters, metrics of both parts, report, pictures, data sets and the model with its signature.

        :param plots: the table of each.
        """
        import mlflow
        from mlflow.entities import Metric, Param

        client, run_id = mlflow.MlflowClient(), self.identity["run_id"]
        client.log_batch(run_id, params=[Param(name, str(value)) for name, value in _parameters(config).items()])
        paths = config.paths
        datasets = [
            _dataset(config, "training", *train, paths.train_data),
            _dataset(config, "test", *test, paths.test_data),
        ]
        client.log_inputs(run_id, datasets)
        mlflow.log_dict(dict(report), "classification_report.json")
        for plot, table in plots.items():
            mlflow.log_figure(plot.figure(table), f"{plot.name}.png")
        model = _log_model(pipeline, train[0])
        # After the model, for the run and the model at once: those that a run already has, log_model asks for and logs
        # again one by one.
        now = int(time.time() * 1000)
        metrics = metrics_by_name(scores).items()
        client.log_batch(run_id, [Metric(name, value, now, 0, model_id=model.model_id) for name, value in metrics])
        self.identity["model_uri"] = str(model.model_uri)


@contextmanager
def run(config: PipelineConfig, runtime: RuntimeSettings) -> Iterator[TrackedRun]:
    """Open an MLflow run; it ends FINISHED, or FAILED if the block raises.

    :raises AccessError: the tracking server refuses the credentials.
    :raises ServiceError: it does not answer.
    """
    client = connect(runtime)
    import mlflow

    with translated_errors(runtime):
        experiment = mlflow.set_experiment(config.mlflow.experiment)
        _set_kind(client, experiment)
        tags = _airflow_tags()
        if tags:  # earlier tries of this task were killed, or they would not be tried again
            same_task = {name: tags[name] for name in AIRFLOW_TASK}
            left = running_runs(client, experiment.experiment_id, same_task)
            close_runs(client, [run.info.run_id for run in left])
        with (
            _ended_by_sigterm(),
            _temporary_files_in_workspace(bool(tags)),
            mlflow.start_run(run_name=tags.get("airflow.run_id"), tags=tags) as active,
        ):
            identity = {
                "run_id": active.info.run_id,
                "experiment_id": experiment.experiment_id,
                "experiment": experiment.name,
            }
            yield TrackedRun(identity)


def _set_kind(client: "MlflowClient", experiment: "Experiment") -> None:
    """Have MLflow's UI open the experiment as one of machine learning, and not in its view for GenAI."""
    from mlflow.exceptions import MlflowException

    if KIND in experiment.tags:  # a user's choice
        return
    with suppress(MlflowException):  # no right to do that, say: the runs do not depend on it
        client.set_experiment_tag(experiment.experiment_id, KIND, MACHINE_LEARNING)


def _airflow_tags() -> dict[str, str]:
    """Which task logs here; empty outside Airflow."""
    names = {f"airflow.{name.lower()}": f"AIRFLOW_CTX_{name}" for name in ("DAG_ID", "TASK_ID", "TRY_NUMBER")}
    names["airflow.run_id"] = "AIRFLOW_CTX_DAG_RUN_ID"
    found = {tag: os.environ.get(variable, "") for tag, variable in names.items()}
    return found if all(found.values()) else {}


@contextmanager
def _temporary_files_in_workspace(in_task: bool) -> Iterator[None]:
    """Have MLflow put its temporary files into the task's workspace, with which they go if this process is killed."""
    folder = Path(".dvc")
    if not in_task or not folder.is_dir():
        yield
        return
    before, tempfile.tempdir = tempfile.tempdir, str(folder.absolute())
    try:
        yield
    finally:
        tempfile.tempdir = before


@contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    """Let SIGTERM, with which Airflow ends a task, unwind the block, so that the MLflow run does not stay RUNNING."""

    def stop(number: int, frame: Any) -> None:
        sys.exit(128 + number)

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _parameters(config: PipelineConfig) -> dict[str, Any]:
    """What dvc.yaml declares as this stage's params: a value that could change without a re-run would be a lie."""
    sections = {"model": config.model.settings, "split": config.split}
    values = {f"{section}.{name}": value for section, model in sections.items() for name, value in model}
    return {"model.kind": config.model.kind, **values}


def _dataset(config: PipelineConfig, context: str, features: "pd.DataFrame", target: "pd.Series", path: str) -> Any:
    """How MLflow names a table: types by its first rows, and the MD5 of its file. MLflow itself would read every cell.

    :param path: of the file that has these rows.
    """
    from mlflow.data.pandas_dataset import from_pandas
    from mlflow.entities import Dataset, DatasetInput, InputTag

    some = features.head(SOME_ROWS).assign(**{config.data.target: target.head(SOME_ROWS)})
    like = from_pandas(some, targets=config.data.target, name=f"{context} rows").to_dict()
    with open(path, "rb") as file:
        md5 = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    profile = {"num_rows": len(features), "num_elements": len(features) * (len(features.columns) + 1)}
    table = Dataset(like["name"], md5, like["source_type"], like["source"], like["schema"], json.dumps(profile))
    return DatasetInput(table, [InputTag("mlflow.data.context", context)])


def _log_model(pipeline: "Pipeline", features: "pd.DataFrame") -> "ModelInfo":
    import mlflow
    from mlflow.models import infer_signature
    from skops.io import dumps, get_untrusted_types

    some = features.head(SOME_ROWS)
    logged: ModelInfo = mlflow.sklearn.log_model(
        pipeline,
        name="model",
        signature=infer_signature(some, pipeline.predict(some)),
        # skops asks for a yes to each type it does not know; these are of the pipeline that was made here.
        skops_trusted_types=get_untrusted_types(data=dumps(pipeline)),
        pip_requirements=[f"{package}=={version(package)}" for package in REQUIREMENTS],
    )
    return logged
