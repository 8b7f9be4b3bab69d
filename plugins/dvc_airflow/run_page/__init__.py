"""A tab on each DAG and each run in Airflow's web UI: how the stages ended and why, run by run.

A plugin registers it: ``fastapi_apps = [RunPage().app()]`` and ``external_views = views()``.
"""

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dvc_airflow.run_page.details import Project

PREFIX = "dvc-runs"


class RunPage:
    """The pages, as an ASGI application.

    It is made with the first request: every process of Airflow loads the plugins, and the API server alone has pages.

    :param project: gives what a project has to say of its runs; called with the first request.
    """

    def __init__(self, project: "Callable[[], Project] | None" = None) -> None:
        self.project = project
        self._app: Any = None
        self._making = threading.Lock()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Called by the API server with each request below the prefix."""
        if self._app is None:
            from fastapi.concurrency import run_in_threadpool

            # Its imports take a while, in which the API server has others to answer.
            await run_in_threadpool(self._make)
        await self._app(scope, receive, send)

    def _make(self) -> None:
        from dvc_airflow.run_page.app import create
        from dvc_airflow.run_page.details import Project

        with self._making:
            if self._app is None:
                self._app = create(self.project() if self.project else Project())

    def app(self) -> dict[str, Any]:
        """The entry in a plugin's ``fastapi_apps``."""
        return {"app": self, "url_prefix": f"/{PREFIX}", "name": "DVC runs"}


def views() -> list[dict[str, Any]]:
    """The tabs, for a plugin's ``external_views``. Relative addresses, for an Airflow below a path of its server."""
    return [
        {"name": "DVC", "href": f"{PREFIX}/dags/{{DAG_ID}}", "destination": "dag", "url_route": PREFIX},
        {
            "name": "DVC",
            "href": f"{PREFIX}/dags/{{DAG_ID}}/runs/{{RUN_ID}}",
            "destination": "dag_run",
            "url_route": "dvc-run",
        },
    ]
