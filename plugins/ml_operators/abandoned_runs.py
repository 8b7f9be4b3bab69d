"""``python -m ml_operators.abandoned_runs``: fail the runs of ``airflow dags test`` that were killed. Nobody continues
them, but they stay "running", and so count against the DAG's ``max_active_runs`` for ever. By Airflow's models, for
neither its CLI nor its client can set the state of a run where no API server runs.

Call it before a scheduler starts, when nothing can be running.
"""

from airflow.models.dagrun import DagRun
from airflow.utils.session import create_session
from airflow.utils.state import DagRunState, State, TaskInstanceState
from airflow.utils.types import DagRunTriggeredByType
from sqlalchemy import select


def fail_abandoned_runs() -> list[str]:
    """Set them and their unfinished tasks to failed.

    :return: the ids of the runs.
    """
    abandoned = select(DagRun).where(
        DagRun.triggered_by == DagRunTriggeredByType.TEST, DagRun.state.in_(State.unfinished_dr_states)
    )
    with create_session() as session:
        runs = session.scalars(abandoned).all()
        for run in runs:
            for ti in run.get_task_instances(state=State.unfinished, session=session):
                ti.set_state(TaskInstanceState.FAILED, session=session)
            run.set_state(DagRunState.FAILED)
        return [run.run_id for run in runs]


if __name__ == "__main__":
    for run_id in fail_abandoned_runs():
        print(f"run {run_id} was killed; set to failed")
