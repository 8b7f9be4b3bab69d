"""Runs as Airflow's database has them: rows with what the project's own operators return."""

import re
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

from dvc_airflow.result import StageResult
from dvc_airflow.run_page.runs import Run, run_of
from include.registry.gate import RuleResult, Verdict
from include.settings.config_file import load_config
from ml_operators.results import EvaluatedModel, RecordedLineage, RegisteredModel, ResolvedRun

STAGES = ("get_data", "preprocess", "train_and_evaluate")
FIRST = datetime(2026, 3, 1, tzinfo=UTC)
MLFLOW_RUN = {"run_id": "abc", "experiment_id": "1", "experiment": "iris", "model_uri": "models:/m-1"}


@dataclass
class Task:
    """A row of a task and of what it returned."""

    task_id: str
    operator: str
    value: Any = None
    state: str | None = "success"
    map_index: int = -1


@dataclass
class Rows:
    """The rows of a run; the ``number`` makes its time."""

    number: int
    tasks: list[Task] = field(default_factory=list)
    state: str = "success"
    run_id: str = ""
    run_type: str = "manual"

    def __post_init__(self) -> None:
        self.run_id = self.run_id or f"run-{self.number}"
        self.run_after = self.start_date = FIRST + timedelta(days=self.number)
        self.end_date = self.start_date + timedelta(seconds=20)

    def run(self) -> Run:
        """As the page reads it."""
        return run_of(self, [SimpleNamespace(**vars(task)) for task in self.tasks])


def stage(name: str, outcome: str = "executed", *, run_id: str = "run", reason: str = "-", c: float = 1.0) -> Task:
    """A stage that ended; ``c`` is a param of it, and with it its output differs."""
    entry = {
        "cmd": f"python -m include.stages.{name}",
        "deps": [{"path": f"include/stages/{name}.py", "md5": "c" * 32, "size": 10}],
        "params": {"config/config.yaml": {"model.C": c}},
        "outs": [{"path": f"data/{name}.csv", "md5": f"{round(c * 10):032}", "size": 1234}],
    }
    result = StageResult.model_validate(
        {
            "stage": name,
            "outcome": outcome,
            "reason": reason,
            "started_at": f"2026-03-01T00:00:0{STAGES.index(name) if name in STAGES else 9}+00:00",
            "seconds": 1.5,
            "executed_in": run_id,
            "lock": {"dvc.lock": {name: entry}},
            "published": {},
        }
    )
    state = "success" if outcome == "executed" else "skipped"
    return Task(f"pipeline.{name}", "DvcStageOperator", result.to_xcom(), state)


def complete(number: int, outcome: str = "executed", *, c: float = 1.0, promoted: bool = True, **more: str) -> Rows:
    """A run of `ml_pipeline` that succeeded; its model is the version of its number."""
    rows = Rows(number, **more)
    rows.tasks = [stage(name, outcome, run_id=rows.run_id, c=c, reason=f"because of {c}") for name in STAGES]
    rows.tasks += model_tasks(number, c, promoted)
    return rows


def model_tasks(number: int, c: float, promoted: bool) -> list[Task]:
    """What becomes of the model of a run."""
    config = load_config().model_dump(mode="json")
    config["model"]["logistic_regression"]["C"] = c
    version, accuracy = str(number), round(0.9 + number / 1000, 4)
    metrics = {"test_accuracy": accuracy, "train_accuracy": 0.99}
    code = {"pack": "0" * 64, "git_sha": "f" * 40, "dirty": False, "bundle_version": None}
    resolved = ResolvedRun.model_validate(
        {"config": config, "files": {}, "remote_url": "s3://ml-pipeline/dvc", "code": code, "force": False}
    )
    model = RegisteredModel(
        name="iris", version=version, new=True, run_id="abc", md5="0" * 32, metrics=metrics,
    )  # fmt: skip
    recorded = RecordedLineage(key="lineage/x", mlflow_run=MLFLOW_RUN, metrics=metrics, tags={})
    check = RuleResult("test_accuracy", None, accuracy, None, "at least 0.9", promoted)
    alias = "champion" if promoted else "challenger"
    champion = version if promoted else None
    verdict = Verdict(version, promoted, alias, None, champion, "no champion", [check], is_new_champion=promoted)
    evaluated = EvaluatedModel.of("iris", verdict, MLFLOW_RUN, "runs/report.html")
    return [
        Task("resolve_config", "ResolveConfigOperator", resolved.to_xcom()),
        Task("register_model", "RegisterModelOperator", model.to_xcom()),
        Task("record_lineage", "RecordLineageOperator", recorded.to_xcom()),
        Task("promote_model", "PromoteModelOperator", evaluated.to_xcom()),
    ]


def words(html: str) -> str:
    """What a page says."""
    return re.sub(r"\s+", " ", re.sub(r"<(style|script)>.*?</\1>|<[^>]+>", " ", html, flags=re.DOTALL))


def row_of(html: str, run_id: str) -> str:
    """What a page says of a run in its list."""
    return words(next(row for row in html.split("<tr>") if f">{run_id}<" in row))
