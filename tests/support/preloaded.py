"""What the fork server has ready for its forks; imported by it alone, see airflow_fork.py."""

import asyncio
import gc
from contextlib import suppress
from importlib import import_module
from typing import TYPE_CHECKING

import httpx

if TYPE_CHECKING:
    from starlette.types import ASGIApp

# What `airflow dags test` and the tasks import; the project's code is not among it.
PRELOADED = (
    "skops.io",  # before the others: it looks for each function of SciPy in all modules that there are
    "airflow",
    "a2wsgi",
    "airflow.api_fastapi.execution_api.app",
    "airflow.api_fastapi.execution_api.routes",
    "airflow.dag_processing.bundles.manager",
    "airflow.dag_processing.collection",
    "airflow.dag_processing.dagbag",
    "airflow.executors.local_executor",
    "airflow.models.dagbag",
    "airflow.models.dagrun",
    "airflow.providers.amazon.aws.hooks.s3",
    "airflow.providers.standard.operators.bash",
    "airflow.providers.standard.operators.hitl",
    "airflow.sdk.execution_time.supervisor",
    "airflow.sdk.execution_time.task_runner",
    "airflow.serialization.definitions.dag",
    "airflow.serialization.serialized_objects",
    "airflow.state.metastore",
    "anyio._backends._asyncio",
    "configobj",
    "croniter",
    "dulwich.repo",
    "dvc.lock",
    "dvc.repo",
    "dvc.repo.graph",
    "dvc.repo.index",
    "dvc.repo.plots",
    "dvc.repo.stage",
    "dvc.scm",
    "dvc_s3",
    "jinja2",
    "matplotlib.backends.backend_svg",
    "mlflow",
    "networkx",
    "obstore.store",
    "opentelemetry.sdk.metrics",
    "pandas",
    "pydantic.v1",
    "pydantic_settings",
    "ruamel.yaml",
    "s3fs",
    "scmrepo.git",
    "sklearn.linear_model",
    "sklearn.metrics",
    "typer",
)


def preload() -> None:
    """Import all of `PRELOADED`, and make what Airflow otherwise makes at its first use: in each fork."""
    for name in PRELOADED:
        with suppress(ImportError):
            import_module(name)
    import_module("sqlalchemy.orm").configure_mappers()
    supervisor = import_module("airflow.sdk.execution_time.supervisor")
    asyncio.run(_first_request(supervisor.in_process_api_server().app))
    # A fork ends before garbage matters; looking for it would copy every page that it shares with this process.
    gc.disable()
    gc.freeze()


async def _first_request(api: "ASGIApp") -> None:
    """Ask Airflow's API for the tasks of ``dag.test()`` for anything: it makes the routes of all its versions then."""
    async with httpx.AsyncClient(transport=httpx.ASGITransport(api), base_url="http://api") as client:
        await client.get("/")


preload()
