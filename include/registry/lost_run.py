"""The MLflow run that trained a model version, where it was deleted: the version is left, and its model."""

from dataclasses import dataclass

from include.mlflow_requests import run_of_version, run_stage
from include.settings import RuntimeSettings


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


def lost_run(runtime: RuntimeSettings, name: str, version: str) -> LostRun | None:
    """The MLflow run of a version if it was deleted; None if it is there, or there is no version that had one.

    :raises AccessError, ServiceError: as for `include.mlflow_requests.run_stage`.
    """
    run_id = run_of_version(runtime, name, version)
    if run_id is None or (stage := run_stage(runtime, run_id)) == "active":
        return None
    return LostRun(name, version, run_id, in_bin=stage is not None)
