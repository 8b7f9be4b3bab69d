"""``python -m ml_operators.dag_test DAG_ID``: run a DAG once, in this process. `make run` starts it.

``airflow dags test`` does the same, but begins at once, and reads all DAG files twice. This is started while the
services that tasks use are starting too: what takes seconds and needs none of them comes first. It says in a line of
JSON whether it has the DAG: ``{"dag": true}``, or false with the reason. Then it waits for a line of stdin: the run's
conf as JSON, or null.
"""

import gc
import json
import os
import sys
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from ml_operators.preload import MODULES

if TYPE_CHECKING:
    from airflow.sdk import DAG

AIRFLOW = (
    "airflow.api_fastapi.execution_api.app",
    "airflow.dag_processing.bundles.manager",
    "airflow.dag_processing.dagbag",
    "airflow.models.dagrun",
    "airflow.sdk.execution_time.supervisor",
    "airflow.sdk.execution_time.task_runner",
    "airflow.serialization.serialized_objects",
)
YOUNG = 50_000  # objects: fewer are not looked through for garbage, and all that there are in no short run
OF_STAGES = ("sklearn.", "dulwich.")  # needed where a stage is executed, and most stages are not


def main() -> int:
    """Get ready, wait, run.

    :return: 0 if the run succeeded.
    """
    gc.disable()  # imports leave little garbage; to look for it would take a third of their time
    for name in (*AIRFLOW, *(name for name in MODULES if not name.startswith(OF_STAGES))):
        with suppress(ImportError):  # the task that needs it will say so
            import_module(name)
    dag, reason = _load(sys.argv[1])
    print(json.dumps({"dag": dag is not None, "reason": reason}), flush=True)
    if dag is None:
        return 1
    with suppress(Exception):  # the first task would do it
        _prepare_api()
    gc.freeze()
    gc.set_threshold(YOUNG)
    gc.enable()
    told = sys.stdin.readline()
    if not told:  # nothing told: who started us has given up
        return 1
    run = dag.test(run_conf=json.loads(told))
    return 0 if run.state == "success" else 1


def _load(dag_id: str) -> "tuple[DAG | None, str]":
    """The DAG, of the file that is called like it; None, with the reason as Airflow has it, if there is none."""
    from airflow import settings
    from airflow.dag_processing.dagbag import BundleDagBag
    from airflow.sdk.definitions.param import ParamsDict

    folder = Path(settings.DAGS_FOLDER)
    bag = BundleDagBag(dag_folder=folder / f"{dag_id}.py", bundle_path=folder, bundle_name="dags-folder")
    dag = bag.dags.get(dag_id)
    if dag is None:
        return None, "\n".join(bag.import_errors.values()) or f"{folder}/{dag_id}.py has no DAG {dag_id}"
    for task in dag.tasks:
        # A copy of all that the DAG has, which the task gets in any case; to serialise it takes a second or two.
        task.params = ParamsDict()
    return dag, ""


def _prepare_api() -> None:
    """Have Airflow's API ready, which `dag.test` has in this process: it makes its routes for the first request."""
    from airflow.sdk.execution_time.supervisor import in_process_api_server
    from httpx import Client

    # As `dag.test` calls it. It answers this without the database, which may not be migrated yet.
    Client(transport=in_process_api_server().transport, base_url="http://in-process.invalid./").get("health")


def end(code: int) -> NoReturn:
    """End this process as Airflow's own processes of tasks end: to take all modules apart takes seconds.

    Listeners learn of it before. That of OpenLineage has processes which send what it tells of the run; they would
    never end, and keep our stdout open.
    """
    from airflow.listeners.listener import get_listener_manager
    from airflow.sdk.execution_time.task_runner import TaskRunnerMarker

    with suppress(Exception):  # how the run ended is not up to them
        get_listener_manager().hook.before_stopping(component=TaskRunnerMarker())
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    end(main())
