"""`DvcPrepareOperator`: what all tasks of a run have to have in common, settled by its first task."""

from typing import TYPE_CHECKING, Any

from dvc_airflow.base import DvcOperator
from dvc_airflow.result import PreparedRun

if TYPE_CHECKING:
    from airflow.sdk import Context


class DvcPrepareOperator(DvcOperator):
    """Settle what all tasks of the run have in common. Returns a `PreparedRun`."""

    def work(self, context: "Context") -> dict[str, Any]:
        """See `DvcOperator.work`."""
        run = self.project_run(context)
        return PreparedRun(files=dict(run.files)).to_xcom()
