"""The failed runs of the pipeline, of which those that failed early have no manifest: only Airflow's database has them.

Read by SQL: to import Airflow takes longer than all the rest of ``runs``.
"""

import os
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime

from include.errors import ConfigError, PipelineError, ServiceError
from include.lineage.run_keys import RunKey
from include.settings import how_to_start

DAG_ID = "ml_pipeline"
ADDRESS = "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"
CONNECT_TIMEOUT = 5  # seconds
ANSWER_TIMEOUT = 5  # seconds; what changes the tables locks them
CANCELLED = "57014"  # by ANSWER_TIMEOUT, see https://www.postgresql.org/docs/current/errcodes-appendix.html
FAILED = """
    SELECT run_id, coalesce(start_date, run_after) AS started, ARRAY(
        SELECT task_id FROM task_instance AS task
        WHERE task.dag_id = run.dag_id AND task.run_id = run.run_id AND task.state = 'failed'
        ORDER BY task.end_date, task.task_id
    )
    FROM dag_run AS run WHERE dag_id = %s AND state = 'failed'
"""
NEWEST = f"{FAILED} ORDER BY started DESC LIMIT %s"
ONE = f"{FAILED} AND run_id = %s"


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
    return _read(NEWEST, DAG_ID, limit)


def failed_run(run: RunKey) -> FailedRun | None:
    """A run, if it failed.

    :raises ConfigError, ServiceError: as for `failed_runs`.
    """
    return next(iter(_read(ONE, run.dag_id, run.run_id)), None)


def _read(query: str, dag_id: str, rest: int | str) -> list[FailedRun]:
    address = _address()
    import psycopg2

    try:
        connection = psycopg2.connect(address, connect_timeout=CONNECT_TIMEOUT)
    except psycopg2.Error as error:
        raise _not_connected(_first_line(error), address) from None
    try:
        with closing(connection), connection.cursor() as cursor:
            cursor.execute("SET LOCAL statement_timeout = %s", (ANSWER_TIMEOUT * 1000,))
            cursor.execute(query, (dag_id, rest))
            found = cursor.fetchall()
    except psycopg2.Error as error:
        raise _not_answered(_first_line(error), error.pgcode) from None
    return [
        FailedRun(RunKey(dag_id, run_id), started.astimezone(UTC), tuple(tasks)) for run_id, started, tasks in found
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


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or ["it gave no reason"])[0]


def _not_connected(said: str, address: str) -> PipelineError:
    if said.startswith("connection to server "):
        return ServiceError(f"Airflow's database does not answer: {said}.{how_to_start(address)}")
    # Else it is about the address, a part of which the text repeats: that may be of the password.
    return ConfigError(f"{ADDRESS} is not the address of a database that can be reached.")


def _not_answered(said: str, code: str | None) -> ServiceError:
    if code == CANCELLED:
        return ServiceError(
            f"Airflow's database did not answer within {ANSWER_TIMEOUT} s. It does not while `airflow db migrate` or "
            "`airflow db clean` changes it: try again when that has ended."
        )
    if code is None or code.startswith("57"):  # it was stopped
        return ServiceError(f"Airflow's database closed the connection: {said}. Try again when it runs.")
    return ServiceError(f"the database of {ADDRESS} cannot be asked: {said}. Is it that of an Airflow 3?")
