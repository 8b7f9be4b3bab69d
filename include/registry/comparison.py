"""A fair comparison: champion and challenger, measured on the same test rows.

Where the champion was scored on the same rows, its recorded metrics and predictions are used, and no model is loaded.
"""

import io
import re
import warnings
from collections.abc import Mapping
from contextlib import suppress
from errno import EACCES, ENOSPC, EROFS
from importlib import import_module
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from include.errors import DataError
from include.models.inputs import inputs_of
from include.registry.evidence import Evidence
from include.registry.predictions import Predictions, paired
from include.registry.registry import NO_CHAMPION, Scores
from include.registry.slices import groups
from include.settings import PipelineConfig, RegistryConfig, RuntimeSettings
from include.stages.score import metrics_by_name, prediction_table, score
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
PREDICTIONS_TAG = "md5.test_predictions"


class Comparison:
    """Scores champions on the test rows of one run.

    :param config: of that run.
    :param test_md5: of its test rows, which are in the store.
    :param predictions_md5: of its model's predictions for them; needed where the rules have a confidence or slices.
    """

    def __init__(
        self,
        config: PipelineConfig,
        runtime: RuntimeSettings,
        mlflow: "MlflowClient",
        test_md5: str,
        predictions_md5: str | None = None,
    ) -> None:
        self.config, self.runtime, self.mlflow = config, runtime, mlflow
        self.test_md5, self.predictions_md5 = test_md5, predictions_md5

    def scores_of(self, champion: "ModelVersion | None") -> Scores:
        """The champion's values by metric, how they were obtained, and the evidence if the rules need it.

        The values are None if the champion does not fit these rows, and without one.

        :raises DataError: it has to be scored again, and cannot be loaded; or the rows have no such groups.
        """
        if champion is None:
            own = self._own_predictions()
            return Scores(None, NO_CHAMPION, self._evidence(own, own))
        why = "which was scored on other test rows"
        if champion.tags.get(TEST_DATA_TAG) == self.test_md5:
            recorded = self._recorded(champion)
            note = f"compared with version {champion.version}, scored on the same test rows"
            if not recorded.keys() >= set(_metrics(self.config.registry)):
                why = "whose metrics were not recorded"
            elif not self._needs_evidence:
                return Scores(recorded, note)
            elif predictions := self._recorded_predictions(champion):
                return self._side_by_side(champion, predictions, Scores(recorded, note))
            else:
                why = "whose predictions were not recorded"
        note = f"compared with version {champion.version}, {why}: scored again on these rows (md5 {self.test_md5})"
        return self._scored_again(champion, note)

    def _side_by_side(self, champion: "ModelVersion", predictions: Predictions, scores: Scores) -> Scores:
        """With the evidence; not compared if the table is the same, but data.target has changed."""
        own = self._own_predictions()
        if predictions.actual.tolist() != own.actual.tolist():
            why = f"it predicts something else than data.target ({self.config.data.target}) of these test rows"
            return Scores(None, f"{_named(champion)} cannot be compared: {why}")
        return scores._replace(evidence=self._evidence(predictions, own))

    @property
    def _needs_evidence(self) -> bool:
        return self.config.registry.confidence is not None or bool(self.config.registry.slices)

    def _recorded(self, champion: "ModelVersion") -> Mapping[str, float]:
        from mlflow.exceptions import MlflowException

        try:
            return dict(self.mlflow.get_run(str(champion.run_id)).data.metrics)
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            return {}

    def _recorded_predictions(self, champion: "ModelVersion") -> Predictions | None:
        """None if its run recorded none, or in another bucket, or they are gone or damaged."""
        md5 = champion.tags.get(PREDICTIONS_TAG, "")
        with suppress(DataError):
            if re.fullmatch("[0-9a-f]{32}", md5):
                return self._predictions(md5)
        return None

    def _own_predictions(self) -> Predictions:
        if self.predictions_md5 is None:
            raise DataError(
                "the run has no predictions for its test rows (paths.test_predictions), which registry.confidence and "
                "registry.slices need: its stages are of an earlier version. Trigger a new run; if that ends here too, "
                "add ${paths.test_predictions} to the outs of train_and_evaluate in dvc.yaml. No alias was changed."
            )
        return self._predictions(self.predictions_md5)

    def _predictions(self, md5: str) -> Predictions:
        path = self.config.paths.test_predictions
        return Predictions.of_file(self._objects.read(path, md5), f"{path} (md5 {md5})")

    def _evidence(self, champion: Predictions, own: Predictions) -> Evidence:
        pair, rule = paired(champion, own), self.config.registry
        known = sorted({*champion.known, *own.known})
        return Evidence(pair, *groups(rule, self.config.data.target, pair, known, lambda: self._test_rows()[0]))

    def _scored_again(self, champion: "ModelVersion", note: str) -> Scores:
        what = _named(champion)
        pipeline = load_model(champion.name, str(champion.version), what)
        features, target = self._test_rows()
        try:
            inputs = inputs_of(pipeline, features, "the table of test rows")
        except DataError as error:
            return Scores(None, f"{what} cannot be compared: {str(error).partition('. It has:')[0].rstrip('.')}")
        values = metrics_by_name({"test": score(pipeline, inputs, target)})
        if not self._needs_evidence:
            return Scores(values, note)
        predictions = Predictions.of_table(prediction_table(pipeline, inputs, target))
        return Scores(values, note, self._evidence(predictions, self._own_predictions()))

    @property
    def _objects(self) -> StoredObjects:
        storage = self.config.storage
        return StoredObjects(client(self.runtime), self.runtime, storage.bucket, storage.prefix)

    def _test_rows(self) -> tuple["pd.DataFrame", "pd.Series"]:
        path = self.config.paths.test_data
        features = read_parquet(io.BytesIO(self._objects.read(path, self.test_md5)))
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

    _import_skops()
    try:
        with TemporaryDirectory(prefix="model-") as folder:  # MLflow would leave its own behind
            return mlflow.sklearn.load_model(f"models:/{name}/{version}", dst_path=folder)
    except Exception as error:
        if _is_outage(error):
            raise
        first = str(error).partition("\n")[0]
        raise DataError(f"{what} cannot be loaded ({type(error).__name__}: {first}). {REMEDY}") from error


def _import_skops() -> None:
    """Import what MLflow reads the model with.

    It looks for each function of SciPy in all modules that are loaded, and in a task Airflow's log a warning for each
    name that they do not have: a thousand lines.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        import_module("skops.io")


def _is_outage(error: Exception) -> bool:
    """Whether MLflow, its store or this machine failed, as opposed to the model."""
    from botocore.exceptions import BotoCoreError
    from requests import RequestException

    if isinstance(error, RequestException):
        return error.response is None or error.response.status_code not in (404, 410)
    if isinstance(error, BotoCoreError) or (isinstance(error, OSError) and error.errno in (ENOSPC, EACCES, EROFS)):
        return True
    return bool(re.search(r"Max retries exceeded|[Cc]onnection|timed out|\b(401|403|50[0234])\b", str(error)))


def _named(champion: "ModelVersion") -> str:
    return f"the champion, version {champion.version} of {champion.name},"


def _metrics(rule: RegistryConfig) -> list[Any]:
    return [rule.metric, *rule.tolerances]
