"""A pool that does not exist: Airflow would leave its tasks waiting for ever, with a line in the scheduler's log."""

import logging
from typing import TYPE_CHECKING, Any

from airflow.listeners import hookimpl

if TYPE_CHECKING:
    from airflow.models.dagrun import DagRun
    from airflow.models.taskinstance import TaskInstance
    from sqlalchemy.orm import Session

log = logging.getLogger(__name__)

#: The class names of our operators, as Airflow's database has them. A user's own tasks are left to Airflow.
FIRST, OURS = "DvcPrepareOperator", ("DvcPrepareOperator", "DvcStageOperator", "DvcPushOperator")


class PoolListener:
    """Fails the tasks of a run whose pool does not exist, and the task that prepares the run, when the run starts."""

    @hookimpl
    def on_dag_run_running(self, dag_run: "DagRun", msg: str) -> None:
        """Called by Airflow's scheduler, in its own session. Also when a run is cleared."""
        from sqlalchemy.orm import object_session

        session = object_session(dag_run)
        if session is None:  # a run that is not of the database
            return
        ours = _tasks(dag_run, session)
        existing = _pools({ti.pool for ti in ours}, session)
        lacking = [ti for ti in ours if ti.pool not in existing]
        if lacking:
            pools = sorted({ti.pool for ti in lacking})
            _fail({ti.id: ti for ti in [*lacking, *_first(ours)]}.values(), _message(pools, lacking))


def _tasks(dag_run: "DagRun", session: "Session") -> "list[TaskInstance]":
    from airflow.models.taskinstance import TaskInstance
    from sqlalchemy import select

    mine = select(TaskInstance).where(
        TaskInstance.dag_id == dag_run.dag_id,
        TaskInstance.run_id == dag_run.run_id,
        TaskInstance.operator.in_(OURS),
        TaskInstance.state.is_(None),  # of a cleared run, what is to run again
    )
    return list(session.scalars(mine))


def _pools(names: set[str], session: "Session") -> set[str]:
    from airflow.models.pool import Pool
    from sqlalchemy import select

    return set(session.scalars(select(Pool.pool).where(Pool.pool.in_(names))))


def _first(tasks: "list[TaskInstance]") -> "list[TaskInstance]":
    return [ti for ti in tasks if ti.operator == FIRST]


def _message(pools: list[str], lacking: "list[TaskInstance]") -> str:
    tasks = ", ".join(sorted({ti.task_id for ti in lacking})[:5])
    return (
        f"Airflow has no pool {', '.join(pools)}, which `meta.airflow` in dvc.yaml, or the DAG, names for {tasks}. Add "
        f"it in Airflow (Admin, Pools), or run `airflow pools set {pools[0]} SLOTS DESCRIPTION`; then clear "
        "prepare_run with all that follow."
    )


def _fail(tasks: Any, message: str) -> None:
    from airflow.sdk import timezone
    from airflow.utils.state import TaskInstanceState

    now = timezone.utcnow()
    for ti in tasks:
        ti.state, ti.start_date, ti.end_date, ti.note = TaskInstanceState.FAILED, now, now, message
        log.error("Task %s of run %s: %s", ti.task_id, ti.run_id, message)
