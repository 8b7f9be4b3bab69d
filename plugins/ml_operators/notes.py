"""Notes on tasks, as the web UI shows them.

A task has no way to write its own note. So it leaves the text as an XCom, and a listener, which Airflow calls where the
database is, puts it on the task and on the run when the run ends.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from airflow.listeners import hookimpl

if TYPE_CHECKING:
    from airflow.models.dagrun import DagRun
    from airflow.sdk import Context
    from sqlalchemy.orm import Session

KEY = "ml_pipeline_note"
LENGTH = 1000  # characters; Airflow's REST API takes no longer ones


def write_note(context: "Context", text: str) -> None:
    """Have a note on this task when the run has ended."""
    context["ti"].xcom_push(key=KEY, value=text[:LENGTH])


class NoteListener:
    """Puts the notes that tasks left where the web UI shows them."""

    @hookimpl
    def on_dag_run_success(self, dag_run: "DagRun", msg: str) -> None:
        """Called by Airflow."""
        _copy(dag_run)

    @hookimpl
    def on_dag_run_failed(self, dag_run: "DagRun", msg: str) -> None:
        """Called by Airflow."""
        _copy(dag_run)


def _copy(dag_run: "DagRun") -> None:
    from airflow.models.xcom import XComModel

    with _attached(dag_run) as (session, run):
        found: Any = session.scalars(XComModel.get_many(run_id=run.run_id, dag_ids=run.dag_id, key=KEY)).all()
        notes: dict[str, str] = {one.task_id: XComModel.deserialize_value(one) for one in found}
        for ti in run.get_task_instances(session=session) if notes else []:
            if ti.task_id in notes:
                ti.note = notes[ti.task_id]
        if notes and not run.note:
            run.note = "\n\n".join(notes.values())[:LENGTH]


@contextmanager
def _attached(dag_run: "DagRun") -> "Iterator[tuple[Session, Any]]":
    """The run in a session: the scheduler's own, which it commits itself, or a new one (``dag.test()`` has none)."""
    from airflow.models.dagrun import DagRun
    from airflow.utils.session import create_session
    from sqlalchemy.orm import object_session

    if session := object_session(dag_run):
        yield session, dag_run
    else:
        with create_session() as new:
            yield new, new.get(DagRun, dag_run.id)
