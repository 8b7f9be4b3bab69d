"""The environment in which Airflow, DVC, MLflow and pytest use the embedded services."""

import os
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from include.services.embedded.state import HOST, State
from include.settings import PROJECT_DIR


def variables(state: State, addresses: Mapping[str, Any]) -> dict[str, str]:
    """All that differs from a plain shell. Holds secrets.

    :param addresses: of the running services, as `include.services.embedded.deployment.running` gives them.
    """
    secrets = state.secrets()
    return {
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]),
        "PYTHONPATH": str(PROJECT_DIR),
        # the object store
        "AWS_ENDPOINT_URL": addresses["store"],
        "AWS_ACCESS_KEY_ID": secrets["store_access_key"],
        "AWS_SECRET_ACCESS_KEY": secrets["store_secret_key"],
        "AWS_DEFAULT_REGION": "us-east-1",
        "STORE_CONSOLE_URL": "",  # it has none; config/.env may name that of the stack in containers
        # MLflow
        "MLFLOW_TRACKING_URI": addresses["mlflow"],
        "MLFLOW_DISABLE_TELEMETRY": "true",
        # DVC
        "DVC_CACHE_DIR": str(state.dvc_cache),
        "DVC_SITE_CACHE_DIR": str(state.root / "dvc-site"),
        "DVC_NO_ANALYTICS": "1",
        **_airflow(state, addresses, secrets),
    }


def _airflow(state: State, addresses: Mapping[str, Any], secrets: Mapping[str, str]) -> dict[str, str]:
    """Airflow's own settings."""
    airflow_url = f"http://{HOST}:{addresses['airflow_port']}"
    return {
        "AIRFLOW_HOME": str(state.airflow_home),
        "AIRFLOW__CORE__DAGS_FOLDER": str(PROJECT_DIR / "dags"),
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(PROJECT_DIR / "plugins"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
        "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
        "AIRFLOW__CORE__FERNET_KEY": secrets["airflow_fernet_key"],
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{airflow_url}/execution/",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": "admin:admin",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(state.passwords_file()),
        "AIRFLOW__LOGGING__BASE_LOG_FOLDER": str(state.airflow_home / "logs"),
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": addresses["postgres"]["airflow"],
        "AIRFLOW__API__HOST": HOST,
        "AIRFLOW__API__PORT": str(addresses["airflow_port"]),
        "AIRFLOW__API__BASE_URL": airflow_url,
        "AIRFLOW__API__SECRET_KEY": secrets["airflow_api_secret_key"],
        "AIRFLOW__API_AUTH__JWT_SECRET": secrets["airflow_jwt_secret"],
        "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
    }


def process_environment(state: State, addresses: Mapping[str, Any]) -> dict[str, str]:
    """This process's environment with `variables`, without Airflow settings from elsewhere."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW")}
    return {**inherited, **variables(state, addresses)}


def with_plugins(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment of a Python that runs a module of the folder ``plugins``."""
    return {**environment, "PYTHONPATH": os.pathsep.join([environment["PYTHONPATH"], str(PROJECT_DIR / "plugins")])}


def shell_exports(state: State, addresses: Mapping[str, Any]) -> str:
    """`variables` as lines that a POSIX shell evaluates."""
    return "\n".join(f"export {name}={shlex.quote(value)}" for name, value in variables(state, addresses).items())
