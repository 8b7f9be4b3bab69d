"""What forks tasks imports for them; what does not, does not."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

PLUGINS = str(Path(__file__).parents[2] / "plugins")


@pytest.mark.parametrize(
    ("arguments", "loaded"),
    [
        (["scheduler", "--skip-serve-logs"], True),
        (["celery", "worker", "--concurrency", "2"], True),
        (["dags", "test", "ml_pipeline"], False),
        (["celery", "flower"], False),
        (["api-server"], False),
    ],
)
def test_only_processes_that_fork_tasks_import_what_tasks_need(arguments, loaded):
    code = (
        "import json, sys; from ml_operators.preload import preload; "
        f"preload({arguments!r}); "
        "names = ('mlflow', 'dvc.repo', 's3fs', 'include', 'dvc_airflow'); "
        "print(json.dumps([name in sys.modules for name in names]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env={"PYTHONPATH": PLUGINS}, capture_output=True, text=True, check=True
    )

    # Nothing of the project's own: a change of it must count for the next task.
    assert json.loads(done.stdout.splitlines()[-1]) == [loaded] * 3 + [False] * 2
