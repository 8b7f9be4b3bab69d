"""The scheduler, which forks tasks, imports for them what they need; other processes do not."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ENVIRONMENT = {
    "PYTHONPATH": f"{ROOT}:{ROOT}/plugins",
    "PATH": "/usr/bin:/bin",
    "AIRFLOW_HOME": os.environ["AIRFLOW_HOME"],
}
NAMES = ("mlflow", "dvc.repo", "s3fs", "include", "include.settings", "ml_operators", "dvc_airflow")


@pytest.mark.parametrize(
    ("command", "loaded"), [("scheduler", True), ("dags", False), ("celery", False), ("api-server", False)]
)
def test_only_the_scheduler_imports_what_tasks_need_and_nothing_of_the_project(command, loaded):
    code = (
        "import json, sys; from ml_pipeline_plugin import MlPipelinePlugin; "
        f"sys.argv = ['airflow', {command!r}, '--flag']; MlPipelinePlugin.on_load(); "
        f"print(json.dumps([name for name in {NAMES!r} if name in sys.modules]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=ENVIRONMENT,
        capture_output=True, text=True, check=True,
    )  # fmt: skip

    found = json.loads(done.stdout.splitlines()[-1])
    # A change of the project's own code must count for the next task, so it finds none of that in memory.
    assert found == list(NAMES[:3]) if loaded else {"mlflow", "dvc.repo", "s3fs"}.isdisjoint(found)


def test_a_celery_worker_imports_them_when_it_starts_and_not_when_it_is_configured():
    code = (
        "import json, sys; from celery.signals import worker_init\n"
        "from ml_operators.celery_config import CELERY_CONFIG\n"
        f"before = [name for name in {NAMES!r} if name in sys.modules]; worker_init.send(sender=None); "
        f"after = [name for name in {NAMES!r} if name in sys.modules]; "
        "print(json.dumps([before, after, CELERY_CONFIG['task_acks_late']]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=ENVIRONMENT,
        capture_output=True, text=True, check=True,
    )  # fmt: skip

    before, after, acks_late = json.loads(done.stdout.splitlines()[-1])
    assert {"mlflow", "dvc.repo", "s3fs"}.isdisjoint(before)
    assert after == list(NAMES[:3])
    assert acks_late is True  # the provider's own settings
