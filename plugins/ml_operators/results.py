"""The results of this project's tasks; those of the stages are in `dvc_airflow.result`."""

from typing import Any

from dvc_airflow.result import TaskResult
from include.lineage.code_state import Code
from include.registry.gate import RuleResult, Verdict


class ResolvedRun(TaskResult):
    """Result of `resolve_config`: the configuration of the run, resolved and checked."""

    #: the checked configuration, see `include.settings.PipelineConfig`
    config: dict[str, Any]
    #: the texts that take the place of the project's files in the stages' workspaces, by path
    files: dict[str, str]
    #: the DVC remote
    remote_url: str
    #: the id of the packed code, git's commit, and whether there were changes beside it
    code: Code
    #: whether every stage is to run, whatever is known
    force: bool


class RegisteredModel(TaskResult):
    """Result of `register_model`: the version of the run's model."""

    name: str
    version: str
    #: whether it was registered now
    new: bool
    #: of the MLflow run that trained it
    run_id: str
    #: of the model file; None if no stage made it
    md5: str | None
    #: by name, such as ``test_accuracy``
    metrics: dict[str, float]


class RecordedLineage(TaskResult):
    """Result of `record_lineage`: where the manifest is, and the MLflow run."""

    #: of the manifest in the bucket
    key: str
    #: run_id, experiment_id, experiment and model_uri
    mlflow_run: dict[str, str]
    metrics: dict[str, float]
    tags: dict[str, str]


class EvaluatedModel(TaskResult):
    """Result of `evaluate_model` and `promote_model`: the verdict of the gate, see `include.registry.gate.Verdict`."""

    name: str
    version: str
    passed: bool
    alias: str
    compared_with: str | None
    champion: str | None
    note: str
    checks: list[RuleResult]
    #: whether the version became champion by this
    is_new_champion: bool
    #: what the test rows cannot tell
    warnings: list[str]
    #: the verdict for people, as text
    table: str
    mlflow_run: dict[str, str]
    #: path of the report among the artifacts of the MLflow run
    report: str

    @classmethod
    def of(cls, name: str, verdict: Verdict, mlflow_run: dict[str, str], report: str) -> "EvaluatedModel":
        """From the verdict on a version of the model of that name."""
        return cls(name=name, **vars(verdict), table=verdict.table(), mlflow_run=mlflow_run, report=report)
