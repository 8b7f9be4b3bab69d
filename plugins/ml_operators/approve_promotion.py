"""`ApprovePromotionOperator`: a person approves before a model becomes champion."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airflow.providers.standard.operators.hitl import ApprovalOperator
from airflow.sdk.exceptions import AirflowSkipException

from ml_operators.results import EvaluatedModel

if TYPE_CHECKING:
    from airflow.sdk import Context

# The user of runs by `airflow dags test` and `dag.test()`. Such a run would wait for an answer for ever.
DAGS_TEST = "dag_test"


class ApprovePromotionOperator(ApprovalOperator):
    """Ask a person in the web UI whether the model may become champion; only if it passes the gate. If the person
    rejects it, the promotion is skipped and the run succeeds.

    :param verdict: what `EvaluateModelOperator` returned. (templated: an XComArg)
    """

    # Not subject and body: what is in them comes from users, and is not a template.
    template_fields: Sequence[str] = ("verdict",)

    def __init__(self, *, verdict: Any, **kwargs: Any) -> None:
        super().__init__(subject="Make this model champion?", **kwargs)
        self.verdict = verdict

    def execute(self, context: "Context") -> Any:
        """Ask, unless there is nothing to approve, or nobody to ask."""
        evaluated = EvaluatedModel.from_xcom(self.verdict, "evaluate_model")
        if not evaluated.passed or evaluated.compared_with == evaluated.version:
            self.log.info("Nothing to approve: %s", evaluated.note)
            return None
        if context["dag_run"].triggering_user_name == DAGS_TEST:
            raise AirflowSkipException(
                "`airflow dags test` has no web UI in which a person could approve, so the champion is unchanged. "
                "Trigger the "
                f"run in Airflow, or make it champion with `python -m include promote {evaluated.version}`."
            )
        self.subject = f"Make version {evaluated.version} of {evaluated.name} champion?"
        self.body = f"{evaluated.note}.\n\n```\n{evaluated.table}\n```"
        return super().execute(context)
