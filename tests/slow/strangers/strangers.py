"""Every project of a folder as a group of one DAG: its stages, and the push of what they made.

The environment of the tests says where the projects are (STRANGERS) and which cache tasks share (STRANGERS_CACHE; not
set: none).
"""

import os
from pathlib import Path

from airflow.sdk import DAG, TaskGroup

from dvc_airflow.operators import DvcPushOperator
from dvc_airflow.task_group import DvcTaskGroup


def cache_dir() -> Path | None:
    return Path(os.environ["STRANGERS_CACHE"]) if "STRANGERS_CACHE" in os.environ else None


with DAG("strangers", schedule=None, default_args={"retries": 0}):
    for project in sorted(Path(os.environ["STRANGERS"]).glob("*/project")):
        with TaskGroup(project.parent.name):
            stages = DvcTaskGroup("stages", project_dir=project, cache_dir=cache_dir, env=["RAN", "SITE"])
            push = DvcPushOperator(
                task_id="push", project_dir=project, upstream_stages=stages.stage_task_ids, cache_dir=cache_dir
            )
            stages >> push
