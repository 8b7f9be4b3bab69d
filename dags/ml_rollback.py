"""The DAG `ml_rollback`: the alias `champion` goes back to an earlier version of the model."""

from airflow.sdk import DAG, Param

from include.settings.config_file import load_config
from ml_operators.assets import champion_asset
from ml_operators.base import retry_arguments
from ml_operators.roll_back import RollBackOperator

DOC = """
### Restore an earlier champion

Trigger it with a version, or `previous`, and the reason. The alias `champion` of the registered model moves; the
version that loses it is marked, and no pipeline run promotes it again. The model's tags in MLflow keep every change
with its reason.

From the command line: `python -m include rollback [VERSION] --reason ...`.
"""

config = load_config()

with DAG(
    "ml_rollback",
    description="Make an earlier version champion again",
    doc_md=DOC,
    params={
        "version": Param(
            "previous",
            type="string",
            pattern=r"^(previous|v?[0-9]{1,9})$",
            title="Version",
            description="A version number, or previous for the champion before this one",
        ),
        "reason": Param(
            "", type="string", minLength=1, maxLength=500, title="Reason", description="Recorded with the change"
        ),
    },
    schedule=None,
    catchup=False,
    default_args=retry_arguments(config.schedule),
    tags=["mlflow"],
):
    RollBackOperator(task_id="roll_back", asset=champion_asset(config))
