"""The one module that Airflow's plugin loader imports: links, pages, notes, and the preloading of what tasks need."""

import sys
from typing import TYPE_CHECKING, Any

from airflow.listeners import hookimpl
from airflow.plugins_manager import AirflowPlugin

from dvc_airflow.pools import PoolListener
from dvc_airflow.run_page import RunPage, views
from include.mlflow_client import ui_url
from include.settings import load_runtime_settings
from ml_operators.assets import AliasListener
from ml_operators.notes import NoteListener
from ml_operators.preload import forget_changed_code, preload

if TYPE_CHECKING:
    from dvc_airflow.run_page.details import Project


def _views() -> list[dict[str, Any]]:
    runtime = load_runtime_settings()
    found = [{"name": "MLflow", "href": ui_url(runtime), "destination": "nav", "url_route": "mlflow"}]
    if runtime.store_console_url:
        found.append(
            {
                "name": "Object store",
                "href": runtime.store_console_url,
                "destination": "nav",
                "url_route": "object-store",
            }
        )
    return found


def _project() -> "Project":
    from ml_operators.run_details import PROJECT  # only where pages are shown

    return PROJECT


class TaskListener:
    """Lets a task have the project's code as it is now."""

    @hookimpl
    def on_starting(self, component: Any) -> None:
        """Called by Airflow, in a task before it parses the DAG's file."""
        forget_changed_code()


class MlPipelinePlugin(AirflowPlugin):
    """Registers links and the listeners: the operators are imported from their packages."""

    name = "ml_pipeline"
    external_views = [*_views(), *views()]  # noqa: RUF012 - as Airflow declares it
    fastapi_apps = [RunPage(_project).app()]  # noqa: RUF012 - as Airflow declares it
    listeners = [AliasListener(), NoteListener(), PoolListener(), TaskListener()]  # noqa: RUF012 - as Airflow declares it

    @classmethod
    def on_load(cls, *args: Any, **kwargs: Any) -> None:
        """Called by Airflow once in each of its processes."""
        preload(sys.argv[1:])
