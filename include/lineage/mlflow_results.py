"""Which MLflow runs belong to a result, whatever became of the task that logged them."""

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from include.lineage.lineage_store import LineageStore
from include.mlflow_client import has_version
from include.stages.files import write_json
from include.store.stored_objects import StoredFile, StoredObjects, md5_of_file, object_path

if TYPE_CHECKING:
    from mlflow import MlflowClient


class MlflowResults:
    """Looks for the registered version, the manifest and the stage's result that an MLflow run belongs to.

    :param objects: of the DVC remote.
    :param cache_dir: the DVC cache that tasks share, if they share one.
    :param path: where the training writes which MLflow run it logged to.
    """

    def __init__(
        self, mlflow: "MlflowClient", lineage: LineageStore, objects: StoredObjects, cache_dir: Path | None, path: str
    ) -> None:
        self.mlflow, self.lineage, self.objects, self.cache_dir, self.path = mlflow, lineage, objects, cache_dir, path

    def has(self, mlflow_run_id: str) -> bool:
        """Whether the run belongs to one."""
        if has_version(self.mlflow, mlflow_run_id) or self.lineage.of_mlflow_run(mlflow_run_id):
            return True
        return any(map(self._is_kept, self._md5s(mlflow_run_id)))

    def _md5s(self, mlflow_run_id: str) -> Iterator[str]:
        """Of the file that names the MLflow run among the outputs of the training, one per logged model.

        Its content is that of `include.stages.tracking.TrackedRun.identity`. DVC keeps it under its md5, and the
        training can be restored for as long as it is there.
        """
        run = self.mlflow.get_run(mlflow_run_id)
        experiment = self.mlflow.get_experiment(run.info.experiment_id)
        identity = {
            "run_id": mlflow_run_id,
            "experiment_id": experiment.experiment_id,
            "experiment": experiment.name,
        }
        for logged in run.outputs.model_outputs if run.outputs else []:
            with TemporaryDirectory(prefix="mlflow-run-") as folder:
                file = Path(folder) / "mlflow_run.json"
                write_json(file, {**identity, "model_uri": f"models:/{logged.model_id}"})
                yield str(md5_of_file(file))

    def _is_kept(self, md5: str) -> bool:
        if self.cache_dir and (self.cache_dir / object_path(md5)).exists():
            return True
        damages = self.objects.check([StoredFile(path=self.path, md5=md5)])
        return all(damage.found for damage in damages)
