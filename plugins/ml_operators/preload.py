"""Preload what the tasks will need into the processes that fork them.

With LocalExecutor each task is a process of its own, forked from the scheduler, and a fork has what its parent has
imported. Importing MLflow takes two seconds, DVC and S3's client one more.
"""

import logging
import os
import sys
from contextlib import suppress
from importlib import import_module

log = logging.getLogger(__name__)

# Celery's workers load plugins only after the fork: there `celery_config` does it.
FORKING = ("scheduler",)
# Never preloaded: the project's code may change while Airflow runs.
OWN = ("include", "ml_operators", "dvc_airflow")
MODULES = (
    "airflow.providers.amazon.aws.hooks.s3",
    "airflow.providers.standard.operators.bash",
    "croniter",
    "dulwich.index",
    "dulwich.repo",
    "dvc.repo",
    "dvc_s3",
    "jinja2",
    "matplotlib.backends.backend_svg",
    "matplotlib.figure",
    "mlflow",
    "pydantic_settings",
    "requests",
    "ruamel.yaml",
    "s3fs",
    "sklearn.metrics",
)


def preload(arguments: list[str]) -> None:
    """Import `MODULES` if this is a process that forks tasks.

    :param arguments: of the command ``airflow``.
    """
    if arguments[:1] and arguments[0] in FORKING:
        import_all()


def import_all() -> None:
    """Import `MODULES`."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # MLflow asks once, when it is imported
    for name in MODULES:
        with suppress(ImportError):  # the task that needs it will say so
            import_module(name)
    for name in [name for name in sys.modules if name.partition(".")[0] in OWN]:
        del sys.modules[name]
    log.info("Imported for the tasks: %s", ", ".join(name for name in MODULES if name in sys.modules))
