"""`PromoteModelOperator`: the gate before the alias `champion`. `EvaluateModelOperator` leaves the alias alone."""

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from airflow.sdk import Asset, AssetAlias

from include.lineage.on_mlflow import add_report
from include.lineage.recorder import LineageRecorder
from include.lineage.run_keys import REPORT, VERDICT, RunKey
from include.mlflow_client import connect, translated_errors
from include.registry.champion import Actor
from include.registry.comparison import Comparison
from include.registry.gate import Verdict
from include.registry.registry import Registry
from include.report import render
from ml_operators.assets import about_version, alias_of, champion_asset, emit
from ml_operators.base import PipelineOperator, cache_dir, registry_of
from ml_operators.links import ModelVersionLink, ReportLink
from ml_operators.notes import FENCE, LENGTH, write_note
from ml_operators.results import EvaluatedModel, RegisteredModel

if TYPE_CHECKING:
    from airflow.sdk import Context

ROOM = LENGTH - 150  # characters: the run's note begins with its stages


class EvaluateModelOperator(PipelineOperator):
    """Evaluate the model, write verdict and report. A version that passes is challenger until a person approves it.

    Returns an `EvaluatedModel`.

    :param model: what `RegisterModelOperator` returned. (templated: an XComArg)
    """

    template_fields: Sequence[str] = (*PipelineOperator.template_fields, "model")
    operator_extra_links = (ModelVersionLink(), ReportLink())

    def __init__(self, *, model: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.model = model

    def execute(self, context: "Context") -> dict[str, Any]:
        """Evaluate, and record."""
        return self.evaluate(context, RegisteredModel.from_xcom(self.model, "register_model")).to_xcom()

    def evaluate(self, context: "Context", model: RegisteredModel) -> EvaluatedModel:
        """Evaluate the version; the verdict is written into the store, onto the MLflow run and as a note."""
        mlflow = connect(self.runtime)
        lineage = LineageRecorder(self.pipeline_config, self.runtime)
        run = RunKey(context["ti"].dag_id, context["ti"].run_id)
        manifest = lineage.read(run)
        md5s = str(manifest.md5_of("test_data")), manifest.md5_of("test_predictions")
        comparison = Comparison(self.pipeline_config, self.runtime, mlflow, *md5s)
        with translated_errors(self.runtime):
            verdict = self.verdict(context, model, registry_of(self.pipeline_config, self.runtime, mlflow), comparison)
        if manifest.warnings:
            verdict = replace(verdict, note=f"{verdict.note}; warning about the data: {'; '.join(manifest.warnings)}")
        table = verdict.table()
        self.log.info("Version %s: alias %s; %s\n%s", verdict.version, verdict.alias, verdict.note, table)
        write_note(context, _note(model.name, verdict))
        document = {**verdict.as_dict(), "table": table, "name": model.name}
        lineage.add(run, VERDICT, json.dumps(document, indent=2).encode())
        cache = cache_dir()
        kept = cache / "airflow" / "figures" if cache else None
        html = render(manifest, document, lineage.objects_of(manifest), kept)
        lineage.add(run, REPORT, html.encode())
        with translated_errors(self.runtime):
            report = add_report(mlflow, manifest, verdict, html)
        return EvaluatedModel.of(model.name, verdict, manifest.mlflow_run, report)

    def verdict(
        self, context: "Context", model: RegisteredModel, registry: Registry, comparison: Comparison
    ) -> Verdict:
        """The verdict of the gate."""
        return registry.propose(model.version, model.metrics, self.pipeline_config.registry, comparison.scores_of)


def _note(name: str, verdict: Verdict) -> str:
    said = f"Model {name} version {verdict.version}: alias {verdict.alias}; {verdict.note}"
    table = verdict.table()
    shown = table if len(said) + len(table) <= ROOM else verdict.table_worst_first()
    return f"{said}\n\n{FENCE}\n{shown}\n{FENCE}"


class PromoteModelOperator(EvaluateModelOperator):
    """Let the version through the gate: alias `champion`, else `challenger`. The run succeeds either way.

    Returns an `EvaluatedModel`. A new champion is an event of its Asset.
    """

    def __init__(self, *, asset: Asset, **kwargs: Any) -> None:
        super().__init__(outlets=[AssetAlias(alias_of(asset))], **kwargs)

    def execute(self, context: "Context") -> dict[str, Any]:
        """Evaluate, move the alias, and record."""
        model = RegisteredModel.from_xcom(self.model, "register_model")
        evaluated = self.evaluate(context, model)
        if evaluated.is_new_champion:
            emit(context, champion_asset(self.pipeline_config), about_version(model))
        return evaluated.to_xcom()

    def verdict(
        self, context: "Context", model: RegisteredModel, registry: Registry, comparison: Comparison
    ) -> Verdict:
        """The verdict of the gate, with the alias moved accordingly."""
        ti = context["ti"]
        actor = Actor(f"run {ti.run_id} of DAG {ti.dag_id}", f"{ti.dag_id}/{ti.run_id}/{ti.task_id}")
        rule = self.pipeline_config.registry
        return registry.promote(model.version, model.metrics, rule, comparison.scores_of, actor)
