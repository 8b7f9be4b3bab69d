"""Preload what the tasks will need into the processes that fork them.

With LocalExecutor each task is a process of its own, forked from the scheduler, and a fork has what its parent has
imported and read. Importing MLflow takes two seconds, DVC and S3's client one more; to parse the DAG's file with what
it imports of this project takes longer than all that Airflow does for a task.
"""

import logging
import os
import sys
from contextlib import suppress
from importlib import import_module, invalidate_caches
from importlib.util import find_spec

log = logging.getLogger(__name__)

# Celery's workers load plugins only after the fork: there `celery_config` does it.
FORKING = ("scheduler",)
MODULES = (
    "airflow.dag_processing.bundles.local",
    "airflow.providers.amazon.aws.hooks.s3",
    "airflow.providers.standard.operators.bash",
    "airflow.sdk.definitions.retry_policy",
    "boto3.s3.inject",
    "croniter",
    "dulwich.client",
    "dulwich.config",
    "dulwich.index",
    "dulwich.repo",
    "dulwich.worktree",
    "dvc.cachemgr",
    "dvc.data_cloud",
    "dvc.lock",
    "dvc.repo",
    "dvc.repo.artifacts",
    "dvc.repo.datasets",
    "dvc.repo.index",
    "dvc.repo.metrics",
    "dvc.repo.params",
    "dvc.repo.plots",
    "dvc.repo.stage",
    "dvc.scm",
    "dvc.utils.strictyaml",
    "dvc_data.hashfile.db.local",
    "dvc_s3",
    "encodings.utf_8_sig",
    "jinja2",
    "jinja2.ext",
    "matplotlib.backends.backend_svg",
    "matplotlib.figure",
    "matplotlib.pyplot",
    "mlflow",
    "mlflow.tracing.export.utils",
    "mlflow.tracing.processor.otel",
    "mlflow.tracking.request_header.registry",
    "obstore.store",
    "pydantic_settings",
    "requests",
    "ruamel.yaml",
    "s3fs",
    "sklearn.metrics",
)
#: The project's packages, which may change while Airflow runs: see `forget_changed_code`.
OWN = ("include", "ml_operators", "dvc_airflow")
#: What the DAGs and the tasks import of them.
OWN_MODULES = (
    "dvc_airflow.result_field",
    "dvc_airflow.task_group",
    "ml_operators.links",
    "ml_operators.mlflow_runs",
    "ml_operators.params",
    "ml_operators.promote_model",
    "ml_operators.record_lineage",
    "ml_operators.register_model",
    "ml_operators.resolve_config",
    "ml_operators.roll_back",
    "ml_operators.run_date",
    "ml_operators.score",
    "ml_operators.setup_bucket",
    "ml_operators.store_hook",
)

# How each file of the project's packages was when they were imported here.
_imported: dict[str, tuple[int, ...]] = {}


def preload(arguments: list[str]) -> None:
    """Import `MODULES` and `OWN_MODULES` if this is a process that forks tasks.

    :param arguments: of the command ``airflow``.
    """
    if arguments[:1] and arguments[0] in FORKING and not _imported:  # a task loads the plugin once more
        import_all()


def import_all() -> None:
    """Import `MODULES` and `OWN_MODULES`, and read what a task would read again though it has not changed."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # MLflow asks once, when it is imported
    _imported.update(_code())
    for name in (*MODULES, *OWN_MODULES):
        with suppress(ImportError):  # the task that needs it will say so
            import_module(name)
    for prepare in (_read_settings, _prepare_clients, _find_airflow_plugins):
        with suppress(Exception):  # likewise
            prepare()
    log.info("Imported for the tasks: %s", ", ".join(name for name in MODULES if name in sys.modules))


def forget_changed_code() -> None:
    """Have the project's packages imported anew if a file of them was changed since they were preloaded.

    To be called by each task before it parses the DAG's file: a change of the code counts for the next task.
    """
    if _imported and _code() != _imported:
        for name in [name for name in sys.modules if name.partition(".")[0] in OWN]:
            del sys.modules[name]
        invalidate_caches()


def _code() -> dict[str, tuple[int, ...]]:
    """The files of the project's packages, by what tells a changed one, as Python's own caches go by."""
    found: dict[str, tuple[int, ...]] = {}
    for package in OWN:
        spec = find_spec(package)
        folders = list(spec.submodule_search_locations or ()) if spec else []
        while folders:
            for entry in _entries(folders.pop()):
                with suppress(OSError):  # it has gone meanwhile, or is a link to nothing, as an editor's lock
                    if entry.name.endswith(".py"):
                        state = entry.stat()
                        found[entry.path] = (state.st_ino, state.st_size, state.st_mtime_ns)
                    elif entry.is_dir() and entry.name != "__pycache__":
                        folders.append(entry.path)
    return found


def _entries(folder: str) -> list[os.DirEntry[str]]:
    with suppress(OSError):  # it has gone meanwhile
        return list(os.scandir(folder))
    return []


def _read_settings() -> None:
    """Parse config/config.yaml and dvc.yaml: what is read of a text is kept for whoever has the same text."""
    from dvc_airflow.project_files import project_files
    from include.settings import PROJECT_DIR
    from include.settings.config_file import load_config

    load_config()
    project_files(PROJECT_DIR)


def _prepare_clients() -> None:
    from include.mlflow_client import find_plugins
    from include.store.client import read_descriptions

    find_plugins()
    read_descriptions()


def _find_airflow_plugins() -> None:
    """Have Airflow's task SDK load its plugins, for which it looks anew in each task."""
    from airflow.sdk.listener import get_listener_manager

    get_listener_manager()
