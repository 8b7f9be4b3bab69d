"""`ScoreBatchOperator`: a table, predicted by the champion."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator

from include.mlflow_client import connect, translated_errors
from include.scoring.batch import score_batch
from include.settings import PROJECT_DIR
from include.settings.config_file import SCORING, load_config_with
from ml_operators.base import runtime_settings
from ml_operators.links import ModelVersionLink, StoreLink

if TYPE_CHECKING:
    from airflow.sdk import Context


class ScoreBatchOperator(BaseOperator):
    """Score the table at ``scoring.input`` with the version that is champion, and write the predictions to the store.

    Returns ``name`` and ``version`` of the model, ``source``, ``data_md5``, ``rows``, ``counts`` per class, ``bucket``
    and ``key``.
    """

    ui_color = "#e8f3d6"
    operator_extra_links = (ModelVersionLink(), StoreLink())

    def execute(self, context: "Context") -> dict[str, Any]:
        """Read, predict, write.

        :raises DataError: see `include.scoring.batch.score_batch`.
        """
        run, runtime = context["dag_run"], runtime_settings()
        config = load_config_with(run.conf or {}, "the run's conf", SCORING)
        mlflow = connect(runtime)
        with translated_errors(runtime):
            moment = run.logical_date or run.run_after
            scored = score_batch(config, runtime, mlflow, context["ti"].run_id, moment, PROJECT_DIR)
        self.log.info(
            "%s rows of %s scored with version %s of %s: s3://%s/%s",
            scored.rows,
            scored.source,
            scored.version,
            scored.name,
            scored.bucket,
            scored.key,
        )
        return asdict(scored)
