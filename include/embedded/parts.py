"""All embedded parts together: started in parallel, migrated, and stopped in order."""

import importlib.metadata
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

from include.checkout import configure, make_bucket
from include.config_file import load_config
from include.embedded import services
from include.embedded.environment import process_environment, variables
from include.embedded.state import Holder, State, choose_port
from include.settings import PROJECT_DIR, load_runtime_settings

Addresses = dict[str, Any]

CLOSE_ABANDONED_RUNS = (
    """UPDATE task_instance SET state = 'failed', end_date = now()
       WHERE (state IS NULL OR state NOT IN ('success', 'failed', 'skipped', 'upstream_failed', 'removed'))
       AND (dag_id, run_id) IN
         (SELECT dag_id, run_id FROM dag_run WHERE state IN ('queued', 'running') AND triggered_by = 'TEST')""",
    """UPDATE dag_run SET state = 'failed', end_date = now()
       WHERE state IN ('queued', 'running') AND triggered_by = 'TEST'""",
)


@contextmanager
def running(
    state: State, mode: str, *, mlflow_port: int | None = None, airflow_port: int | None = None
) -> Iterator[Addresses]:
    """Run PostgreSQL, the object store and MLflow until the block ends; use those that run already, if they stay.

    :param mode: what others are told that we are: run, serve or keep.
    :param mlflow_port, airflow_port: preferred ports; None takes any free one.
    :return: ``store`` and ``mlflow``: addresses; ``postgres``: one per database; ``airflow_port``.
    """
    there = state.running()
    if there and there["mode"] in ("serve", "keep") and there.get("addresses") and mode != "serve":
        yield there["addresses"]
        return
    with closing(state.hold(mode)) as holder, _started(state, holder, mlflow_port, airflow_port) as addresses:
        yield addresses


@contextmanager
def _started(state: State, holder: Holder, mlflow_port: int | None, airflow_port: int | None) -> Iterator[Addresses]:
    config = load_config()
    port = choose_port("AIRFLOW_PORT", airflow_port)
    with (
        services.postgres(state) as databases,
        # The slowest starts first, and we wait for it last.
        services.mlflow_server(state, databases["mlflow"], mlflow_port) as mlflow,
        services.object_store(state) as store,
    ):
        addresses = {"store": store, "mlflow": mlflow, "postgres": databases, "airflow_port": port}
        environment = variables(state, addresses)
        known: dict[str, Any] = {name.lower(): value for name, value in environment.items()}
        runtime = load_runtime_settings(**known)
        make_bucket(config, runtime)
        configure(PROJECT_DIR, config, runtime)
        _migrate_airflow(state, addresses)
        _fail_abandoned_runs(databases["airflow"])
        services.wait_for_mlflow(state, mlflow)
        holder.tell(addresses)
        yield addresses


def _fail_abandoned_runs(database: str) -> None:
    """Close the runs of ``airflow dags test`` that were killed: nobody goes on with them, but they count as active.

    We have only just started the database, so none of them can be alive.
    """
    from sqlalchemy import create_engine, text

    engine = create_engine(database)
    with engine.begin() as connection:
        for statement in CLOSE_ABANDONED_RUNS:
            connection.execute(text(statement))
    engine.dispose()


def _migrate_airflow(state: State, addresses: Addresses) -> None:
    stamp = state.root / "postgres-migrated"
    wanted = f"apache-airflow {importlib.metadata.version('apache-airflow')}"
    if stamp.exists() and stamp.read_text() == wanted:
        return
    services.run_quietly(
        "airflow db migrate",
        ["airflow", "db", "migrate"],
        process_environment(state, addresses),
        state.log("airflow-db-migrate"),
    )
    stamp.write_text(wanted)
