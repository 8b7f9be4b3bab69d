"""The pages as a FastAPI application, which Airflow mounts below its own. Airflow does not protect it: this does."""

import base64
import hashlib
from http import HTTPStatus
from typing import Annotated, Any

from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity
from airflow.api_fastapi.core_api.security import requires_access_dag
from airflow.utils.session import create_session
from fastapi import Depends, FastAPI, HTTPException, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse

from dvc_airflow.run_page import runs
from dvc_airflow.run_page.details import Project
from dvc_airflow.run_page.pages import dag_page, message_page, own_text, run_page

MOST_PAGES = 1_000_000
# Who sees this page sees runs, tasks and XComs.
SHOWN = (DagAccessEntity.RUN, DagAccessEntity.TASK_INSTANCE, DagAccessEntity.XCOM)
MAY_READ = [Depends(requires_access_dag("GET", entity)) for entity in SHOWN]
SAID = {
    HTTPStatus.NOT_FOUND: None,  # as the error has it
    HTTPStatus.UNAUTHORIZED: "Log in to Airflow to see this page.",
    HTTPStatus.FORBIDDEN: "You may not see this page: it needs the right to read the DAG's runs, tasks and XComs.",
    HTTPStatus.METHOD_NOT_ALLOWED: "This page can only be read.",
}


def create(project: Project) -> FastAPI:
    """Make the application; see `dvc_airflow.run_page.RunPage`."""
    app = FastAPI(title="DVC runs", docs_url=None, redoc_url=None, openapi_url=None)
    headers = _headers()

    # Not async: they wait for the database, in a thread.
    @app.get("/dags/{dag_id}", dependencies=MAY_READ)
    def of_dag(
        dag_id: str, page: Annotated[int, Query(ge=0, le=MOST_PAGES)] = 0, metric: str | None = None
    ) -> HTMLResponse:
        with create_session() as session:
            found = runs.newest(session, dag_id, page, project.operators)
            if not found and not runs.is_known(session, dag_id):
                raise HTTPException(HTTPStatus.NOT_FOUND, f"There is no DAG {dag_id}.")
        return HTMLResponse(dag_page(dag_id, found, project.describe(found, runs.PAGE), page, metric), headers=headers)

    @app.get("/dags/{dag_id}/runs/{run_id:path}", dependencies=MAY_READ)
    def of_run(dag_id: str, run_id: str) -> HTMLResponse:
        with create_session() as session:
            found = runs.run_and_before(session, dag_id, run_id, project.operators)
        if not found:
            raise HTTPException(HTTPStatus.NOT_FOUND, f"There is no run {run_id} of the DAG {dag_id}.")
        return HTMLResponse(run_page(dag_id, found, project.describe(found, 1)), headers=headers)

    def refused(request: Request, error: Any) -> HTMLResponse:
        said = SAID.get(error.status_code) or str(error.detail)
        return HTMLResponse(message_page(said), error.status_code, headers)

    for status in SAID:
        app.add_exception_handler(status, refused)

    @app.exception_handler(RequestValidationError)
    def wrong(request: Request, error: RequestValidationError) -> HTMLResponse:
        names = ", ".join(str(problem["loc"][-1]) for problem in error.errors())
        said = f"The address of this page has an impossible value: {names}."
        return HTMLResponse(message_page(said), HTTPStatus.BAD_REQUEST, headers)

    return app


def _headers() -> dict[str, str]:
    """Nothing from elsewhere, no script but the page's own, and only Airflow's own pages may embed it."""
    script, style = (f"'sha256-{_digest(own_text(name))}'" for name in ("page.js", "page.css"))
    policy = (
        f"default-src 'none'; script-src {script}; style-src {style}; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'self'"
    )
    return {
        "Content-Security-Policy": policy,
        "X-Content-Type-Options": "nosniff",
        "X-Frame-Options": "SAMEORIGIN",
        "Referrer-Policy": "no-referrer",
        "Cache-Control": "no-store",
    }


def _digest(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
