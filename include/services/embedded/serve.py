"""``make serve``: everything kept up, with the web UIs, until Ctrl-C."""

import shlex
import signal
import threading
from collections.abc import Mapping

from honcho.manager import Manager
from honcho.printer import Printer

from include.errors import ServiceError
from include.services.embedded.deployment import Addresses, running
from include.services.embedded.environment import process_environment
from include.services.embedded.state import HOST, State
from include.services.embedded.waiting import wait_for_http
from include.settings import PROJECT_DIR

AIRFLOW_PORT = 8080
MLFLOW_PORT = 5000
# The log servers would listen on all interfaces; here the API server reads the logs from the disk.
PROCESSES = {
    "api-server": ("airflow", "api-server"),
    "scheduler": ("airflow", "scheduler", "--skip-serve-logs"),
    "dag-processor": ("airflow", "dag-processor"),
    "triggerer": ("airflow", "triggerer", "--skip-serve-logs"),
}


def serve(state: State) -> int:
    """Run Airflow beside the services, print the addresses when it answers.

    :return: 0 after Ctrl-C, else the exit code of the process that ended unexpectedly (1 if that was 0).
    """
    print("Starting PostgreSQL, the object store, MLflow and Airflow (half a minute or so) ...", flush=True)
    with (
        running(state, "serve", mlflow_port=MLFLOW_PORT, airflow_port=AIRFLOW_PORT) as addresses,
        open(state.log("serve"), "w", encoding="utf-8") as log,
    ):
        manager = Manager(printer=Printer(output=log, width=len("dag-processor")))
        environment = process_environment(state, addresses)
        for name, command in PROCESSES.items():
            manager.add_process(name, shlex.join(command), env=environment, cwd=str(PROJECT_DIR))
        threading.Thread(target=_announce, args=(state, addresses), daemon=True).start()
        manager.loop()
    if manager.returncode in (128 + signal.SIGINT, 128 + signal.SIGTERM):
        print("All stopped.")  # Ctrl-C is the way to end it, and no failure
        return 0
    print(f"Airflow ended unexpectedly; see {state.log('serve')}")
    return int(manager.returncode or 1)


def _announce(state: State, addresses: Mapping[str, Addresses]) -> None:
    airflow = f"http://{HOST}:{addresses['airflow_port']}"
    try:
        wait_for_http("Airflow", f"{airflow}/api/v2/monitor/health", state.log("serve"))
    except ServiceError as error:
        print(f"error: {error}", flush=True)
        return
    print(
        f"""
     Airflow  {airflow}   (user admin, password in {state.passwords_file()})
      MLflow  {addresses["mlflow"]}
object store  {addresses["store"]}   (S3; credentials: make -s env-vars)
        logs  {state.log("serve").parent}

Trigger the DAG ml_pipeline in Airflow. Ctrl-C ends everything.""",
        flush=True,
    )
