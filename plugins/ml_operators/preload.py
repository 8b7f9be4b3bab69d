"""Has the processes that fork Airflow's tasks import what the tasks will need.

Each task is a process of its own, forked from the scheduler (LocalExecutor) or from a worker (CeleryExecutor), and a
fork has what its parent has imported. Importing MLflow takes two seconds, DVC and S3's client one more.
"""

import logging
import sys
from contextlib import suppress
from importlib import import_module

log = logging.getLogger(__name__)

FORKING = (["scheduler"], ["celery", "worker"])
# Nothing of the project's own: its code may change while Airflow runs.
MODULES = (
    "airflow.providers.amazon.aws.hooks.s3",
    "airflow.providers.standard.operators.bash",
    "croniter",
    "dvc.repo",
    "dvc_s3",
    "mlflow",
    "pydantic_settings",
    "requests",
    "ruamel.yaml",
    "s3fs",
)


def preload(arguments: list[str]) -> None:
    """Import `MODULES` if this is a process that forks tasks.

    :param arguments: of the command ``airflow``.
    """
    if any(arguments[: len(command)] == command for command in FORKING):
        for name in MODULES:
            with suppress(ImportError):  # the task that needs it will say so
                import_module(name)
        log.info("Imported for the tasks: %s", ", ".join(name for name in MODULES if name in sys.modules))
