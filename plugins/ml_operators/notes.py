"""Notes on tasks and runs, as the web UI shows them: how each stage ended and why, and the gate's verdict.

A task cannot write its own note. So a listener, which Airflow calls where the database is, writes the notes when the
run ends: from the results of the stages, and from the texts that other tasks left as XComs.
"""

from collections.abc import Container, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from airflow.listeners import hookimpl

from dvc_airflow.errors import ResultError
from dvc_airflow.result import Outcome, StageResult

if TYPE_CHECKING:
    from airflow.models.dagrun import DagRun
    from airflow.sdk import Context
    from sqlalchemy.orm import Session

KEY = "ml_pipeline_note"
STATES = {"failed": "failed", "upstream_failed": "not run"}  # of tasks, and what the run's note calls them
ENDED = ("success", "skipped", "failed")
LENGTH = 1000  # characters; Airflow's REST API takes no longer ones
LINE = 400  # characters of a line, where not all of a note fits
FENCE = "```"  # around text with columns, in Markdown
MORE = "The rest is in the task's log."


def write_note(context: "Context", text: str) -> None:
    """Leave a note on this task; it is shown when the run has ended."""
    context["ti"].xcom_push(key=KEY, value=shortened(text))


def shortened(text: str) -> str:
    """The lines that a note has room for; it says so where some are left out."""
    if len(text) <= LENGTH:
        return text
    kept: list[str] = []
    room = LENGTH - len(f"{FENCE}\n{MORE}")
    for line in text.splitlines():
        cut = line if len(line) <= LINE else f"{line[: LINE - 1]}…"
        room -= len(cut) + 1
        if room < 0:
            break
        kept.append(cut)
    is_open = kept.count(FENCE) % 2 == 1
    return "\n".join([*kept, *([FENCE] if is_open else []), MORE])


class NoteListener:
    """Writes the notes that tasks left to where the web UI shows them."""

    @hookimpl
    def on_dag_run_success(self, dag_run: "DagRun", msg: str) -> None:
        """Called by Airflow."""
        _write(dag_run)

    @hookimpl
    def on_dag_run_failed(self, dag_run: "DagRun", msg: str) -> None:
        """Called by Airflow."""
        _write(dag_run)


def run_note(stages: Mapping[str, StageResult], states: Mapping[str, str], texts: Iterable[str]) -> str:
    """The note on a run: which stages and tasks ended how, then the texts of other tasks.

    :param stages: the results of the stages, by task.
    :param states: of all tasks, as Airflow calls them.
    """
    in_order = sorted(stages.values(), key=lambda result: result.started_at)
    names: dict[str, list[str]] = {
        outcome: [result.stage for result in in_order if result.outcome is outcome] for outcome in Outcome
    }
    for state, said in STATES.items():
        names[said] = [task_id for task_id, found in states.items() if found == state]
    outcomes = "\n".join(f"{outcome}: {', '.join(found)}" for outcome, found in names.items() if found)
    return shortened("\n\n".join(filter(None, [outcomes, *texts])))


def _write(dag_run: "DagRun") -> None:
    with _attached(dag_run) as (session, run):
        instances = run.get_task_instances(session=session)
        states = {ti.task_id: str(ti.state) for ti in instances}
        # The XComs of a task that was cleared, and has not run again, are of before.
        ended = {task_id for task_id, state in states.items() if state in ENDED}
        texts = {task_id: text for task_id, text in _xcoms(session, run, KEY).items() if task_id in ended}
        stages = _stage_results(_xcoms(session, run, "return_value"), ended)
        notes = {task_id: shortened(f"{result.outcome}: {result.reason}") for task_id, result in stages.items()} | texts
        for ti in instances:
            if ti.task_id in notes and _is_ours(ti.task_instance_note):
                ti.note = notes[ti.task_id]
        if notes and _is_ours(run.dag_run_note):
            run.note = run_note(stages, states, texts.values())


def _is_ours(note: Any) -> bool:
    """Whether there is no note, or one that no user wrote."""
    return note is None or note.user_id is None


def _xcoms(session: "Session", run: "DagRun", key: str) -> dict[str, Any]:
    """What the tasks of a run left under a key, by task."""
    from airflow.models.xcom import XComModel

    found: Any = session.scalars(XComModel.get_many(run_id=run.run_id, dag_ids=run.dag_id, key=key)).all()
    return {one.task_id: XComModel.deserialize_value(one) for one in found}


def _stage_results(returned: Mapping[str, Any], ended: Container[str]) -> dict[str, StageResult]:
    stages = {}
    for task_id, value in returned.items():
        if task_id not in ended:
            continue
        with suppress(ResultError):  # another task's, or of another version of the code
            stages[task_id] = StageResult.from_xcom(value, task_id)
    return stages


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
