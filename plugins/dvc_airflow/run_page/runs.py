"""The runs of a DAG with their stages, from Airflow's database: a fixed number of queries, however many there are."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ValidationError, field_validator

from dvc_airflow.result import is_whole

if TYPE_CHECKING:
    from sqlalchemy import Select
    from sqlalchemy.orm import Session

STAGE_OPERATOR = "DvcStageOperator"
PAGE = 20  # runs on a page
BEFORE = 10  # older runs, among which the run before is looked for that has a result
RETURNED = ("success", "skipped")  # what a task in another state returned is of an earlier try
WRONG = ("failed", "upstream_failed", "up_for_retry")
NOT_RUN = "not run"
SAID = {"upstream_failed": NOT_RUN, "up_for_retry": "to be retried", None: "not started"}
CHANGED = "The result of this task (its XCom) was truncated or changed, or is kept by an XCom backend."
UNKNOWN = "The result of this task (its XCom) was written by a version of the code that this one cannot read."


class Ended(BaseModel):
    """What is shown of a `dvc_airflow.result.StageResult`, whichever version of the code wrote it."""

    stage: str
    outcome: str
    reason: str
    seconds: float
    started_at: str
    executed_in: str | None = None
    lock: dict[str, dict[str, dict[str, Any]]]

    @field_validator("lock")
    @classmethod
    def _has_paths(cls, lock: dict[str, dict[str, dict[str, Any]]]) -> dict[str, dict[str, dict[str, Any]]]:
        entries = [entry for stages in lock.values() for entry in stages.values()]
        items = [item for entry in entries for role in ("deps", "outs") for item in entry.get(role) or ()]
        if not all(isinstance(item, dict) and isinstance(item.get("path"), str) for item in items):
            raise ValueError("a dependency or output has no path")
        return lock


@dataclass(frozen=True)
class Stage:
    """The task of a stage. ``ended`` is None as long as it has no result, or none that can be read (``problem``)."""

    task_id: str
    state: str | None
    ended: Ended | None
    problem: str = ""

    @property
    def name(self) -> str:
        """As `dvc repro` takes it, where that is known."""
        return self.ended.stage if self.ended else self.task_id.rpartition(".")[2]

    @property
    def outcome(self) -> str:
        """How it ended, or what it does."""
        return self.ended.outcome if self.ended else SAID.get(self.state, str(self.state))

    @property
    def reason(self) -> str:
        """Why it ran or did not; of one that failed, where to look."""
        if self.state == "failed":
            return "It failed: the log of the task says why."
        return self.ended.reason if self.ended else self.problem


@dataclass(frozen=True)
class Run:
    """A run. ``wrong`` are the tasks that failed or were not run for that, by id; ``returned`` are results by operator.

    :param returned: of the operators that were asked for; of a mapped one, any.
    """

    run_id: str
    state: str
    run_type: str
    run_after: datetime
    started: datetime | None
    seconds: float | None
    stages: Sequence[Stage]
    wrong: dict[str, str]
    returned: dict[str, dict[str, Any]]

    @property
    def has_results(self) -> bool:
        """Whether a stage has ended."""
        return any(stage.ended for stage in self.stages)


def is_known(session: "Session", dag_id: str) -> bool:
    """Whether there is, or was, such a DAG."""
    from airflow.models.dag import DagModel
    from sqlalchemy import select

    return session.scalar(select(DagModel.dag_id).where(DagModel.dag_id == dag_id)) is not None


def newest(session: "Session", dag_id: str, page: int, operators: Sequence[str]) -> list[Run]:
    """A page of runs and some older ones, in the order in which Airflow lists them: the newest first.

    :param page: from 0 on.
    """
    statement = _runs(dag_id).offset(page * PAGE).limit(PAGE + BEFORE)
    return _with_tasks(session, dag_id, session.execute(statement).all(), operators)


def run_and_before(session: "Session", dag_id: str, run_id: str, operators: Sequence[str]) -> list[Run]:
    """The run and some older ones; an empty list if the run does not exist."""
    from airflow.models.dagrun import DagRun
    from sqlalchemy import and_, or_

    found = session.execute(_runs(dag_id).where(DagRun.run_id == run_id)).all()
    if not found:
        return []
    (run,) = found
    older = or_(DagRun.run_after < run.run_after, and_(DagRun.run_after == run.run_after, DagRun.id < run.id))
    before = session.execute(_runs(dag_id).where(older).limit(BEFORE)).all()
    return _with_tasks(session, dag_id, [run, *before], operators)


def _runs(dag_id: str) -> "Select[Any]":
    from airflow.models.dagrun import DagRun
    from sqlalchemy import select

    columns: list[Any] = [DagRun.id, DagRun.run_id, DagRun.state, DagRun.run_type, DagRun.run_after]
    times = (DagRun.start_date, DagRun.end_date)
    newest_first = (DagRun.run_after.desc(), DagRun.id.desc())
    return select(*columns, *times).where(DagRun.dag_id == dag_id).order_by(*newest_first)


def _with_tasks(session: "Session", dag_id: str, rows: Sequence[Any], operators: Sequence[str]) -> list[Run]:
    tasks: dict[str, list[Any]] = {row.run_id: [] for row in rows}
    for task in session.execute(_tasks(dag_id, list(tasks), (STAGE_OPERATOR, *operators))):
        tasks[task.run_id].append(task)
    return [run_of(row, tasks[row.run_id]) for row in rows]


def _tasks(dag_id: str, run_ids: Sequence[str], operators: Sequence[str]) -> "Select[Any]":
    """The tasks of these operators with what they returned, and all tasks that went wrong."""
    from airflow.models.taskinstance import TaskInstance
    from airflow.models.xcom import XCOM_RETURN_KEY, XComModel
    from sqlalchemy import and_, or_, select

    ti: Any = TaskInstance
    same = [getattr(XComModel, name) == getattr(ti, name) for name in ("dag_id", "run_id", "task_id", "map_index")]
    ours = ti.operator.in_(operators)
    return (
        select(ti.run_id, ti.task_id, ti.map_index, ti.state, ti.operator, XComModel.value)
        .outerjoin(XComModel, and_(*same, XComModel.key == XCOM_RETURN_KEY, ours, ti.state.in_(RETURNED)))
        .where(ti.dag_id == dag_id, ti.run_id.in_(run_ids), or_(ours, ti.state.in_(WRONG)))
        .order_by(ti.start_date, ti.task_id, ti.map_index)
    )


def run_of(row: Any, tasks: Sequence[Any]) -> Run:
    """The run from its rows in the database.

    :param row: with the columns of `DagRun`.
    :param tasks: with those of `TaskInstance`, and ``value``: what the task returned, if it did.
    """
    stages = [_stage(task) for task in tasks if task.operator == STAGE_OPERATOR]
    seconds = (row.end_date - row.start_date).total_seconds() if row.start_date and row.end_date else None
    return Run(
        run_id=row.run_id,
        state=str(row.state),
        run_type=str(row.run_type),
        run_after=row.run_after,
        started=row.start_date,
        seconds=seconds,
        stages=sorted(stages, key=lambda stage: (stage.ended is None, stage.ended.started_at if stage.ended else "")),
        wrong=_failed_first(
            {_task_id(task): SAID.get(task.state, task.state) for task in tasks if task.state in WRONG}
        ),
        returned={task.operator: task.value for task in tasks if task.value is not None and is_whole(task.value)},
    )


def _failed_first(wrong: dict[str, str]) -> dict[str, str]:
    """What was not run for a failure may have no time of a start, which some databases sort before all times."""
    return dict(sorted(wrong.items(), key=lambda task: task[1] == NOT_RUN))


def _stage(task: Any) -> Stage:
    state = task.state if task.state is None else str(task.state)
    if task.value is None:
        return Stage(_task_id(task), state, None)
    if not is_whole(task.value):
        return Stage(_task_id(task), state, None, CHANGED)
    try:
        return Stage(_task_id(task), state, Ended.model_validate(task.value))
    except ValidationError:
        return Stage(_task_id(task), state, None, UNKNOWN)


def _task_id(task: Any) -> str:
    return str(task.task_id) if task.map_index < 0 else f"{task.task_id}[{task.map_index}]"
