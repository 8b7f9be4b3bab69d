"""`RegisterModelOperator` and `PromoteModelOperator`: from the MLflow run to the champion."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from include import registry
from include.mlflow_client import connect, explained
from ml_operators.base import PipelineOperator
from ml_operators.links import ModelVersionLink

if TYPE_CHECKING:
    from airflow.sdk import Context


class RegisterModelOperator(PipelineOperator):
    """Register the run's model: one version per MLflow run, however often it is tried.

    Returns ``name``, ``version``, ``run_id`` (of MLflow) and ``metrics``.

    :param lineage: what `RecordLineageOperator` returned. (templated: an XComArg)
    """

    operator_extra_links = (ModelVersionLink(),)

    template_fields: Sequence[str] = ("config", "lineage")

    def __init__(self, *, lineage: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.lineage = lineage

    def execute(self, context: "Context") -> dict[str, Any]:
        """Register, or find what is registered."""
        self.require("lineage")
        name, mlflow_run = self.pipeline_config.registry.model_name, self.lineage["mlflow_run"]
        client = connect(self.runtime)
        with explained(self.runtime):
            version = registry.register(client, name, mlflow_run, self.lineage["tags"])
        self.log.info("Model %s version %s is that of MLflow run %s", name, version, mlflow_run["run_id"])
        return {"name": name, "version": version, "run_id": mlflow_run["run_id"], "metrics": self.lineage["metrics"]}


class PromoteModelOperator(PipelineOperator):
    """Let the version through the gate: alias `champion`, else `challenger`. The run succeeds either way.

    Returns the verdict, see `include.registry.Verdict`.

    :param model: what `RegisterModelOperator` returned. (templated: an XComArg)
    """

    template_fields: Sequence[str] = ("config", "model")

    def __init__(self, *, model: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.model = model

    def execute(self, context: "Context") -> dict[str, Any]:
        """Apply the gate."""
        self.require("model")
        client = connect(self.runtime)
        with explained(self.runtime):
            verdict = registry.promote(
                client, self.model["version"], self.model["metrics"], self.pipeline_config.registry
            )
        self.log.info(
            "Version %s: %s = %.4f, rule %s: %s; alias %s; champion is version %s",
            verdict.version,
            verdict.metric,
            verdict.value,
            verdict.rule,
            "passed" if verdict.passed else "not passed",
            verdict.alias,
            verdict.champion,
        )
        return verdict.as_dict()
