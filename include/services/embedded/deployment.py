"""All embedded services together: started in parallel, migrated, and stopped in order."""

import importlib.metadata
import os
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

from include.checkout import configure, make_bucket
from include.services.embedded import services
from include.services.embedded.environment import process_environment, variables
from include.services.embedded.state import State, choose_port
from include.settings import PROJECT_DIR, load_runtime_settings
from include.settings.config_file import load_config

Addresses = dict[str, Any]


@contextmanager
def running(
    state: State, mode: str, *, mlflow_port: int | None = None, airflow_port: int | None = None
) -> Iterator[Addresses]:
    """Run PostgreSQL, the object store and MLflow until the block ends; use those that run already, if they stay.

    :param mode: what this process is for others: run, serve or keep.
    :param mlflow_port, airflow_port: preferred ports; None takes any free one.
    :return: ``store`` and ``mlflow``: addresses; ``postgres``: one per database; ``airflow_port``.
    """
    there = state.running()
    if there and there["mode"] in ("serve", "keep") and there.get("addresses") and mode != "serve":
        yield there["addresses"]
        return
    with closing(state.lock(mode)) as lock:
        state.remove_left()  # of services that were killed with their guard
        with _started(state, mode, mlflow_port, airflow_port) as addresses:
            lock.publish(addresses)
            yield addresses


@contextmanager
def _started(state: State, mode: str, mlflow_port: int | None, airflow_port: int | None) -> Iterator[Addresses]:
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
        if mode != "run":  # its run asks nobody how many are active, and Airflow's models take two seconds to import
            _fail_abandoned_runs(state, addresses)
        services.wait_for_mlflow(state, mlflow)
        yield addresses


def _fail_abandoned_runs(state: State, addresses: Addresses) -> None:
    """Close what a killed ``airflow dags test`` left. We have just started the database: none of it is alive."""
    environment = process_environment(state, addresses)
    environment["PYTHONPATH"] = os.pathsep.join([environment["PYTHONPATH"], str(PROJECT_DIR / "plugins")])
    services.run_quietly(
        "closing abandoned runs",
        [sys.executable, "-m", "ml_operators.abandoned_runs"],
        environment,
        state.log("abandoned-runs"),
    )


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
