"""`PromoteModelOperator`: the gate before the alias `champion`; `JudgeModelOperator` leaves the alias where it is."""

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk import Asset, AssetAlias

from include.comparison import Comparison
from include.gate import Verdict
from include.lineage.archive import REPORT, VERDICT, Archive, RunKey
from include.lineage.objects import StoredObjects
from include.lineage.on_mlflow import add_report
from include.mlflow_client import CHAMPION, connect, explained
from include.registry import Doer, Registry
from include.report import render
from ml_operators.assets import about_version, alias_of, champion_asset, emit
from ml_operators.base import PipelineOperator, registry_of
from ml_operators.links import ModelVersionLink, ReportLink
from ml_operators.notes import write_note

if TYPE_CHECKING:
    from airflow.sdk import Context


class JudgeModelOperator(PipelineOperator):
    """Ask the gate, write verdict and report. What may become champion, when a person agrees, is challenger until then.

    Returns the verdict, see `include.gate.Verdict`, with its ``table`` as text, and ``mlflow_run``.

    :param model: what `RegisterModelOperator` returned. (templated: an XComArg)
    """

    template_fields: Sequence[str] = ("config", "model")
    operator_extra_links = (ModelVersionLink(), ReportLink())

    def __init__(self, *, model: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.model = model

    def execute(self, context: "Context") -> dict[str, Any]:
        """Judge, tell, and record."""
        self.require("model")
        mlflow = connect(self.runtime)
        archive = Archive(self.pipeline_config, self.runtime)
        run = RunKey(context["ti"].dag_id, context["ti"].run_id)
        manifest = archive.read(run)
        comparison = Comparison(self.pipeline_config, self.runtime, mlflow, str(manifest.md5_of("test_data")))
        with explained(self.runtime):
            verdict = self._judge(context, registry_of(self.pipeline_config, self.runtime, mlflow), comparison)
        told = {**verdict.as_dict(), "table": verdict.table(), "name": self.model["name"]}
        self.log.info("Version %s: alias %s; %s\n%s", verdict.version, verdict.alias, verdict.note, told["table"])
        write_note(context, f"{verdict.note}\n\n```\n{told['table']}\n```")
        archive.add(run, VERDICT, json.dumps(told, indent=2).encode())
        html = render(manifest, told, StoredObjects.of(manifest, archive.s3, self.runtime))
        archive.add(run, REPORT, html.encode())
        with explained(self.runtime):
            report = add_report(mlflow, manifest, verdict, html)
        return {**told, "mlflow_run": manifest.mlflow_run, "report": report}

    def _judge(self, context: "Context", registry: Registry, comparison: Comparison) -> Verdict:
        return registry.propose(
            self.model["version"], self.model["metrics"], self.pipeline_config.registry, comparison.scores_of
        )


class PromoteModelOperator(JudgeModelOperator):
    """Let the version through the gate: alias `champion`, else `challenger`. The run succeeds either way.

    Returns what `JudgeModelOperator` does. A new champion is an event of its Asset.
    """

    def __init__(self, *, asset: Asset, **kwargs: Any) -> None:
        super().__init__(outlets=[AssetAlias(alias_of(asset))], **kwargs)

    def execute(self, context: "Context") -> dict[str, Any]:
        """Judge, move the alias, tell, and record."""
        told = super().execute(context)
        if self._crowned:
            emit(context, champion_asset(self.pipeline_config), about_version(self.model))
        return told

    def _judge(self, context: "Context", registry: Registry, comparison: Comparison) -> Verdict:
        ti = context["ti"]
        doer = Doer(f"run {ti.run_id} of DAG {ti.dag_id}", f"{ti.dag_id}/{ti.run_id}/{ti.task_id}")
        verdict = registry.promote(
            self.model["version"], self.model["metrics"], self.pipeline_config.registry, comparison.scores_of, doer
        )
        # By the history: an earlier try may have got as far as that.
        self._crowned = verdict.alias == CHAMPION and doer.token in [c.token for c in registry.history()[-1:]]
        return verdict
