"""An example: a DAG for a DVC project that knows nothing of Airflow. Copy it, and put the paths of yours in.

The environment of the tests says where the project is (ANY_PROJECT) and which cache its tasks share (ANY_CACHE; not
set: none). With ANY_TREES set, each task has the project in a directory tree of its own, as on workers that share no
disk.
"""

import os
import shutil
from datetime import timedelta
from pathlib import Path

from airflow.sdk import DAG

from dvc_airflow.operators import DvcPushOperator
from dvc_airflow.task_group import DvcTaskGroup

PROJECT = Path(os.environ["ANY_PROJECT"])


def cache_dir() -> Path | None:
    """The DVC cache that tasks share."""
    return Path(os.environ["ANY_CACHE"]) if "ANY_CACHE" in os.environ else None


def credentials() -> dict[str, str]:
    """For the remote of the project's own .dvc/config; from wherever you keep secrets."""
    return {
        "endpointurl": os.environ["AWS_ENDPOINT_URL"],
        "access_key_id": os.environ["AWS_ACCESS_KEY_ID"],
        "secret_access_key": os.environ["AWS_SECRET_ACCESS_KEY"],
    }


def store_environment() -> dict[str, str]:
    """What `dvc push` needs to reach the remote."""
    names = ("AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_DEFAULT_REGION")
    return {name: os.environ[name] for name in names}


with DAG("any_project", schedule=None, default_args={"retries": 1, "retry_delay": timedelta(seconds=1)}):
    stages = DvcTaskGroup("stages", project_dir=PROJECT, cache_dir=cache_dir, credentials=credentials)
    push = DvcPushOperator(
        task_id="dvc_push",
        project_dir=PROJECT,
        upstream_stages=stages.stage_task_ids,
        cache_dir=cache_dir,
        credentials=credentials,
        environment=store_environment,
        code=stages.code,
    )
    stages >> push

    if "ANY_TREES" in os.environ:
        for task in [*stages.stage_tasks.values(), push]:
            task.project_dir = Path(os.environ["ANY_TREES"]) / task.task_id
            if not task.project_dir.exists():
                shutil.copytree(PROJECT, task.project_dir)
