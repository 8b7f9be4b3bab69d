"""Airflow's own API server with the project's plugin, in a fork that has a deployment's settings; and runs for it."""

import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any

PREFIX = "dvc-runs/dags"


def put(dag_folder: str, dag_id: str, runs: Sequence[Any]) -> None:
    """Put runs into the database.

    :param runs: see `tests.support.run_rows.Rows`.
    """
    from airflow.models.dag import DagModel
    from airflow.models.dagbundle import DagBundleModel
    from airflow.models.dagrun import DagRun
    from airflow.models.taskinstance import TaskInstance
    from airflow.models.xcom import XComModel
    from airflow.utils.session import create_session
    from sqlalchemy import insert
    from uuid6 import uuid7

    now = datetime.now(UTC)
    with create_session() as session:
        if session.get(DagModel, dag_id) is None:
            if session.get(DagBundleModel, "b") is None:
                session.add(DagBundleModel(name="b"))
                session.flush()
            limits = {"max_active_tasks": 1, "max_consecutive_failed_dag_runs": 0, "has_task_concurrency_limits": False}
            session.add(DagModel(dag_id=dag_id, bundle_name="b", **limits))
            session.flush()
        for run in runs:
            times = {"run_after": run.run_after, "start_date": run.start_date, "end_date": run.end_date}
            own = {"dag_id": dag_id, "run_id": run.run_id}
            added = session.execute(
                insert(DagRun).values(**own, **times, _state=run.state, run_type=run.run_type, queued_at=now)
            )
            for number, task in enumerate(run.tasks):
                place = {**own, "task_id": task.task_id, "map_index": task.map_index}
                began = {"pool": "default_pool", "start_date": run.start_date.replace(second=number)}
                what = {"id": uuid7(), "state": task.state, "operator": task.operator}
                session.execute(insert(TaskInstance).values(**place, **began, **what))
                if task.value is not None:
                    key = {"dag_run_id": added.inserted_primary_key[0], "key": "return_value", "timestamp": now}
                    session.execute(insert(XComModel).values(**place, **key, value=task.value))


def ask(dag_folder: str, requests: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Ask the API server.

    :param requests: each with ``path`` and perhaps ``method``, ``login`` (False: nobody has logged in), ``role`` (of
        the user; None: no role), ``token`` (instead of a login), ``lacks`` (what of a DAG the user may not read).
    :return: status, headers, text, seconds, and the database's statements of each answer.
    """
    from airflow import settings
    from airflow.api_fastapi.app import create_app, get_auth_manager
    from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser
    from sqlalchemy import event
    from starlette.testclient import TestClient

    client = TestClient(create_app("core"), base_url="http://testserver", raise_server_exceptions=False)
    statements: list[str] = []
    event.listen(settings.engine, "before_cursor_execute", lambda c, cursor, text, *more: statements.append(text))
    answers = []
    for request in requests:
        manager = get_auth_manager()
        client.cookies.clear()
        if request.get("login", True):
            role = request.get("role", "VIEWER")
            client.cookies.set("_token", manager.generate_jwt(SimpleAuthManagerUser(username="u", role=role)))
        if "token" in request:
            client.cookies.set("_token", request["token"])
        if lacking := request.get("lacks"):
            manager.is_authorized_dag = partial(_unless, lacking, manager.is_authorized_dag)
        statements.clear()
        begun = time.perf_counter()
        answer = client.request(request.get("method", "GET"), f"/{request['path']}", follow_redirects=False)
        answers.append(
            {
                "status": answer.status_code,
                "headers": dict(answer.headers),
                "text": answer.text,
                "seconds": time.perf_counter() - begun,
                "statements": list(statements),
            }
        )
        vars(manager).pop("is_authorized_dag", None)
    return answers


def _unless(entity: str, allowed: Callable[..., bool], **asked: Any) -> bool:
    return asked["access_entity"].name != entity and allowed(**asked)
