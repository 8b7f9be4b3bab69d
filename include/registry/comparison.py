"""A fair comparison: champion and challenger, measured on the same test rows."""

import io
import re
from collections.abc import Mapping
from errno import EACCES, ENOSPC, EROFS
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from include.errors import DataError
from include.models.inputs import inputs_of
from include.settings import PipelineConfig, RegistryConfig, RuntimeSettings
from include.stages.score import metrics_by_name, score
from include.store.client import client
from include.store.stored_objects import StoredObjects
from include.tables.columns import as_labels
from include.tables.parquet_file import read_parquet

if TYPE_CHECKING:
    import pandas as pd
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion
    from sklearn.pipeline import Pipeline

TEST_DATA_TAG = "md5.test_data"


class Comparison:
    """Scores champions on the test rows of one run.

    :param config: of that run.
    :param test_md5: of its test rows, which are in the store.
    """

    def __init__(self, config: PipelineConfig, runtime: RuntimeSettings, mlflow: "MlflowClient", test_md5: str) -> None:
        self.config, self.runtime, self.mlflow, self.test_md5 = config, runtime, mlflow, test_md5

    def scores_of(self, champion: "ModelVersion") -> tuple[Mapping[str, float] | None, str]:
        """The champion's values by metric, and how they were obtained; None if it does not fit these rows.

        :raises DataError: it has to be scored again, and cannot be loaded.
        """
        why = "which was scored on other test rows"
        if champion.tags.get(TEST_DATA_TAG) == self.test_md5:
            recorded = self._recorded(champion)
            if recorded.keys() >= set(_metrics(self.config.registry)):
                return recorded, f"compared with version {champion.version}, scored on the same test rows"
            why = "whose metrics were not recorded"
        note = f"compared with version {champion.version}, {why}: scored again on these rows (md5 {self.test_md5})"
        return self._scored_again(champion, note)

    def _recorded(self, champion: "ModelVersion") -> Mapping[str, float]:
        from mlflow.exceptions import MlflowException

        try:
            return dict(self.mlflow.get_run(str(champion.run_id)).data.metrics)
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            return {}

    def _scored_again(self, champion: "ModelVersion", note: str) -> tuple[Mapping[str, float] | None, str]:
        what = f"the champion, version {champion.version} of {champion.name},"
        pipeline = load_model(champion.name, str(champion.version), what)
        features, target = self._test_rows()
        try:
            inputs = inputs_of(pipeline, features, "the table of test rows")
        except DataError as error:
            return None, f"{what} cannot be compared: {str(error).partition('. It has:')[0].rstrip('.')}"
        return metrics_by_name({"test": score(pipeline, inputs, target)}), note

    def _test_rows(self) -> tuple["pd.DataFrame", "pd.Series"]:
        path = self.config.paths.test_data
        storage = self.config.storage
        objects = StoredObjects(client(self.runtime), self.runtime, storage.bucket, storage.prefix)
        features = read_parquet(io.BytesIO(objects.read(path, self.test_md5)))
        return features, as_labels(features.pop(self.config.data.target))


REMEDY = (
    "Make another version champion (`python -m include rollback` for the one before it, or `python -m include promote "
    "VERSION`), or remove the alias in MLflow, so that the next model needs no comparison. No alias was changed."
)


def load_model(name: str, version: str, what: str) -> "Pipeline":
    """Load a registered scikit-learn model.

    :param what: the model, for the message.
    :raises DataError: its files are gone or damaged.
    """
    import mlflow

    try:
        with TemporaryDirectory(prefix="model-") as folder:  # MLflow would leave its own behind
            return mlflow.sklearn.load_model(f"models:/{name}/{version}", dst_path=folder)
    except Exception as error:
        if _is_outage(error):
            raise
        first = str(error).partition("\n")[0]
        raise DataError(f"{what} cannot be loaded ({type(error).__name__}: {first}). {REMEDY}") from error


def _is_outage(error: Exception) -> bool:
    """Whether MLflow, its store or this machine failed, as opposed to the model."""
    from botocore.exceptions import BotoCoreError
    from requests import RequestException

    if isinstance(error, RequestException):
        return error.response is None or error.response.status_code not in (404, 410)
    if isinstance(error, BotoCoreError) or (isinstance(error, OSError) and error.errno in (ENOSPC, EACCES, EROFS)):
        return True
    return bool(re.search(r"Max retries exceeded|[Cc]onnection|timed out|\b(401|403|50[0234])\b", str(error)))


def _metrics(rule: RegistryConfig) -> list[Any]:
    return [rule.metric, *rule.tolerances]
