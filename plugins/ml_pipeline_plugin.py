"""The one module that Airflow's plugin loader imports: buttons to MLflow and the store's console in the navigation."""

from typing import Any

from airflow.plugins_manager import AirflowPlugin

from include.mlflow_client import ui_url
from include.settings import load_runtime_settings


def _views() -> list[dict[str, Any]]:
    runtime = load_runtime_settings()
    views = [{"name": "MLflow", "href": ui_url(runtime), "destination": "nav", "url_route": "mlflow"}]
    if runtime.store_console_url:
        views.append(
            {
                "name": "Object store",
                "href": runtime.store_console_url,
                "destination": "nav",
                "url_route": "object-store",
            }
        )
    return views


class MlPipelinePlugin(AirflowPlugin):
    """Registers nothing but links: the operators are imported from their packages."""

    name = "ml_pipeline"
    external_views = _views()
