"""All embedded services together: started in parallel, migrated, and stopped in order."""

import importlib.metadata
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any

from include.checkout import configure, make_bucket
from include.services.embedded import services
from include.services.embedded.environment import process_environment, variables, with_plugins
from include.services.embedded.state import State, choose_port
from include.settings import PROJECT_DIR, PipelineConfig, load_runtime_settings
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
    with starting(state, mode, mlflow_port=mlflow_port, airflow_port=airflow_port) as (addresses, wait):
        wait()
        yield addresses


@contextmanager
def starting(
    state: State, mode: str, *, mlflow_port: int | None = None, airflow_port: int | None = None
) -> Iterator[tuple[Addresses, Callable[[], None]]]:
    """As `running`, for who has something else to do until all services answer.

    :return: the addresses, and what waits for the services and sets them up. PostgreSQL answers already.
    """
    there = state.running()
    if there and there["mode"] in ("serve", "keep") and there.get("addresses") and mode != "serve":
        yield there["addresses"], lambda: None
        return
    with closing(state.lock(mode)) as lock:
        state.remove_left()  # of services that were killed with their guard
        config = load_config()
        port = choose_port("AIRFLOW_PORT", airflow_port)
        with (
            services.postgres(state) as databases,
            # The slowest starts first, and we wait for it last.
            services.mlflow_server(state, databases["mlflow"], mlflow_port) as mlflow,
            services.object_store(state) as store,
        ):
            addresses = {
                "store": store.address, "mlflow": mlflow.address, "postgres": databases, "airflow_port": port
            }  # fmt: skip

            def wait() -> None:
                _migrate_airflow(state, addresses)
                if mode != "run":  # its run asks nobody how many are active, and Airflow's models take seconds
                    _fail_abandoned_runs(state, addresses)
                store.wait()
                _set_up(state, config, addresses)
                mlflow.wait()
                lock.publish(addresses)

            yield addresses, wait


def _set_up(state: State, config: PipelineConfig, addresses: Addresses) -> None:
    """Make the bucket, and let the checkout's DVC find it."""
    known: dict[str, Any] = {name.lower(): value for name, value in variables(state, addresses).items()}
    runtime = load_runtime_settings(**known)
    make_bucket(config, runtime)
    configure(PROJECT_DIR, config, runtime)


def _fail_abandoned_runs(state: State, addresses: Addresses) -> None:
    """Close what a killed ``airflow dags test`` left. We have just started the database: none of it is alive."""
    services.run_quietly(
        "closing abandoned runs",
        [sys.executable, "-m", "ml_operators.abandoned_runs"],
        with_plugins(process_environment(state, addresses)),
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
