"""The job's dvc.yaml on Airflow."""

import os

from airflow.sdk import DAG

from dvc_airflow.operators import DvcPushOperator
from dvc_airflow.task_group import DvcTaskGroup

PROJECT = os.environ["JOB_PROJECT"]
STORE = ("AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_DEFAULT_REGION")


def tracking():
    return {"JOB_TRACKING": os.environ["JOB_TRACKING"]}


def credentials():
    return {
        "endpointurl": os.environ["AWS_ENDPOINT_URL"],
        "access_key_id": os.environ["AWS_ACCESS_KEY_ID"],
        "secret_access_key": os.environ["AWS_SECRET_ACCESS_KEY"],
    }


def store():
    return {name: os.environ[name] for name in STORE}


# What the steps import, and what MLflow does when it is used.
WARM = [
    "mlflow.sklearn",
    "mlflow.pyfunc",
    "mlflow.store.model_registry.sqlalchemy_workspace_store",
    "mlflow.store.tracking.sqlalchemy_workspace_store",
    "pandas",
    "skops.io",
    "sklearn.datasets",
    "sklearn.linear_model",
    "sklearn.metrics",
    "sklearn.model_selection",
]
common = {
    "project_dir": PROJECT,
    "cache_dir": lambda: f"{PROJECT}/.dvc/cache",
    "credentials": credentials,
    "env": ["MLFLOW_DISABLE_TELEMETRY"],
    "warm": WARM,
}
with DAG("iris", schedule=None):
    stages = DvcTaskGroup("stages", stage_environment={"train_and_evaluate": tracking}, **common)
    stages >> DvcPushOperator(task_id="push", upstream_stages=stages.stage_task_ids, environment=store, **common)
