"""The failed runs of the pipeline, of which those that failed early have no manifest: only Airflow's database has them.

Read by SQL: to import Airflow takes longer than all the rest of ``runs``.
"""

import os
from dataclasses import dataclass
from datetime import UTC, datetime

from include.errors import ConfigError, PipelineError, ServiceError
from include.lineage.lineage_store import RunKey

DAG_ID = "ml_pipeline"
ADDRESS = "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"
CONNECT_TIMEOUT = 5  # seconds
NEWEST = """
    SELECT run_id, coalesce(start_date, run_after) AS started, ARRAY(
        SELECT task_id FROM task_instance AS task
        WHERE task.dag_id = run.dag_id AND task.run_id = run.run_id AND task.state = 'failed'
        ORDER BY task.end_date, task.task_id
    )
    FROM dag_run AS run WHERE dag_id = %s AND state = 'failed' ORDER BY started DESC LIMIT %s
"""


@dataclass(frozen=True)
class FailedRun:
    """``tasks``: those that failed, the first one first; none if the run was ended by hand, or by its time-out."""

    run: RunKey
    started: datetime
    tasks: tuple[str, ...]


def failed_runs(limit: int) -> list[FailedRun]:
    """The failed runs, newest first.

    :raises ConfigError: the environment does not say where Airflow's database is.
    :raises ServiceError: it cannot be read.
    """
    address = _address()
    import psycopg2

    try:
        connection = psycopg2.connect(address, connect_timeout=CONNECT_TIMEOUT)
        try:
            with connection.cursor() as cursor:
                cursor.execute(NEWEST, (DAG_ID, limit))
                found = cursor.fetchall()
        finally:
            connection.close()
    except psycopg2.Error as error:
        raise _translated(str(error), error.pgcode) from None
    return [
        FailedRun(RunKey(DAG_ID, run_id), started.astimezone(UTC), tuple(tasks)) for run_id, started, tasks in found
    ]


def _address() -> str:
    """For libpq, which takes the password from PGPASSWORD as Airflow does."""
    address = os.environ.get(ADDRESS, "")
    if not address:
        raise ConfigError(
            f'only Airflow\'s database knows them, and {ADDRESS} is not set. To set it: eval "$(make -s env-vars)". '
            "With the stack in containers: docker compose exec airflow-scheduler python -m include runs."
        )
    scheme, _, rest = address.partition("://")
    if scheme.partition("+")[0] not in ("postgresql", "postgres"):
        raise ConfigError(f"only Airflow's database knows them, and {ADDRESS} names no PostgreSQL.")
    return f"postgresql://{rest}"


def _translated(text: str, code: str | None) -> PipelineError:
    first = (text.strip().splitlines() or ["it gave no reason"])[0]
    if code is not None:  # the server's own
        return ServiceError(f"the database of {ADDRESS} cannot be asked: {first}. Is it that of an Airflow 3?")
    if first.startswith("connection to server "):
        return ServiceError(f"Airflow's database does not answer: {first}")
    # Else it is about the address, a part of which the text repeats: that may be of the password.
    return ConfigError(f"{ADDRESS} is not the address of a database that can be reached.")
