"""The DAG `score_batch`: whenever there is a new champion, score a table with it."""

from airflow.sdk import DAG

from include.settings.config_file import SCORING, load_config
from ml_operators.assets import champion_asset
from ml_operators.base import retry_arguments
from ml_operators.params import form_of
from ml_operators.score import ScoreBatchOperator

DOC = """
### Predictions of the champion

Runs when a model becomes champion (by the gate, or by a roll-back), and by hand. It scores the CSV or Parquet file at
`scoring.input` (a path, `s3://`, `http(s)://` or `sklearn:`), and writes the table back to
`s3://<bucket>/<scoring.prefix>/<run>/`, with a prediction, a probability per class, the model's version and the data's
md5 in each row.
"""

config = load_config()

with DAG(
    "score_batch",
    description="Score a table with the champion",
    doc_md=DOC,
    params=form_of(config, SCORING),
    schedule=[champion_asset(config)],
    catchup=False,
    max_active_runs=1,
    default_args=retry_arguments(config.schedule),
    tags=["mlflow"],
):
    ScoreBatchOperator(task_id="score")
