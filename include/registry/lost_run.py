"""The MLflow run that trained a model version, where it was deleted: the version is left, and its model."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from include.mlflow_client import run_stage

if TYPE_CHECKING:
    from mlflow import MlflowClient


@dataclass(frozen=True)
class LostRun:
    """``in_bin``: it can be restored; else `mlflow gc` has deleted it for good."""

    name: str
    version: str
    run_id: str
    in_bin: bool

    def __str__(self) -> str:
        """What a person should know, and do."""
        whose = f"the MLflow run of version {self.version} of {self.name}"
        if self.in_bin:
            return (
                f"{whose} is in MLflow's bin: `mlflow gc` would delete its params, metrics and report for good. "
                f"Restore it: mlflow runs restore --run-id {self.run_id}"
            )
        return (
            f"{whose} was deleted for good, with its params, metrics and report. See whether the model is left: load "
            f"models:/{self.name}/{self.version}"
        )


def lost_run(mlflow: "MlflowClient", name: str, version: str) -> LostRun | None:
    """The MLflow run of a version if it was deleted; None if it is there, or there is no version that had one."""
    run_id = trained_by(mlflow, name, version)
    stage = run_stage(mlflow, run_id) if run_id else "active"
    return None if stage == "active" else LostRun(name, version, str(run_id), in_bin=stage is not None)


def trained_by(mlflow: "MlflowClient", name: str, version: str) -> str | None:
    """The MLflow run of a version; None if the version was deleted."""
    from mlflow.exceptions import MlflowException

    try:
        found = mlflow.get_model_version(name, version).run_id
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return None
    return found or None
