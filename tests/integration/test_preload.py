"""The process that forks tasks imports for them what they need; other processes do not."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.copies import copy_of_project

HEAVY = ("mlflow", "dvc.repo", "s3fs")
OWN = ("include.settings", "ml_operators.promote_model", "dvc_airflow.task_group")
LOADED = f"[name for name in {(*HEAVY, *OWN)!r} if name in sys.modules]"
# As Airflow does it in the scheduler, with the name of the command.
LOAD = """
import importlib, json, os, sys
sys.argv = ["airflow", {command!r}, "--flag"]
from ml_pipeline_plugin import MlPipelinePlugin, TaskListener
MlPipelinePlugin.on_load()
"""
# As Airflow's task runner: it starts, parses the file, and has imported what it needs.
TASK = """
os.environ["_AIRFLOW_PARSING_CONTEXT_TASK_ID"] = "resolve_config"
TaskListener().on_starting(None)
before = set(sys.modules)
from airflow.dag_processing.dagbag import BundleDagBag
bag = BundleDagBag(dag_folder="dags/ml_pipeline.py", bundle_path="dags", safe_mode=False, load_op_links=False)
assert not bag.import_errors, bag.import_errors
packages = ("include", "ml_operators", "dvc_airflow")
own = [name for name in set(sys.modules) - before if name.partition(".")[0] in packages]
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    return copy_of_project(tmp_path_factory.mktemp("preload") / "project")


def answer(project: Path, code: str):
    """What the code prints last, as JSON."""
    env = {
        "PYTHONPATH": f"{project}:{project}/plugins",
        "PATH": "/usr/bin:/bin",
        "AIRFLOW_HOME": os.environ["AIRFLOW_HOME"],
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(project / "plugins"),
    }
    done = subprocess.run([sys.executable, "-c", code], cwd=project, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize(
    ("command", "loaded"), [("scheduler", True), ("dags", False), ("celery", False), ("api-server", False)]
)
def test_only_the_scheduler_imports_what_tasks_need(project, command, loaded):
    found = answer(project, LOAD.format(command=command) + f"print(json.dumps({LOADED}))")

    assert found == [*HEAVY, *OWN] if loaded else set(HEAVY).isdisjoint(found)


def test_a_celery_worker_imports_them_when_it_starts_and_not_when_it_is_configured(project):
    code = (
        "import json, sys; from celery.signals import worker_init\n"
        "from ml_operators.celery_config import CELERY_CONFIG\n"
        f"before = {LOADED}; worker_init.send(sender=None); after = {LOADED}\n"
        "print(json.dumps([before, after, CELERY_CONFIG['task_acks_late']]))"
    )

    before, after, acks_late = answer(project, code)

    assert set(HEAVY).isdisjoint(before)
    assert after == [*HEAVY, *OWN]
    assert acks_late is True  # the provider's own settings


def test_a_task_that_parses_the_dag_imports_nothing_of_the_project_and_no_plugin(project):
    check = (
        "from airflow.sdk.plugins_manager import _get_plugins\n"
        "print(json.dumps([own, _get_plugins.cache_info().misses]))"
    )

    assert answer(project, LOAD.format(command="scheduler") + TASK + check) == [[], 1]


def test_a_change_of_the_code_counts_for_the_next_task(project):
    file = project / "include" / "models" / "kinds" / "another.py"
    text = "from include.models.settings import ModelSettings\n\n\nclass Another(ModelSettings):\n    size: int = {}\n"
    file.write_text(text.format(1))
    other = file.with_name("other.py")
    locks = [file.with_name(f".#{number}.py") for number in range(20)]  # an editor's: links to nothing
    for lock in locks:
        lock.symlink_to("user@host.1:2")
    # Each task is a fork of the process that has loaded the plugin.
    task = f"""
def sizes():
    reader, writer = os.pipe()
    if not os.fork():
        TaskListener().on_starting(None)
        from include.models.settings import KINDS_BY_NAME
        found = [name in KINDS_BY_NAME and KINDS_BY_NAME[name]().size for name in ("another", "other")]
        os.write(writer, json.dumps(found).encode())
        os._exit(0)
    os.wait()
    return json.loads(os.read(reader, 1000))

seen = [sizes()]
open({str(file)!r}, "w").write({text.format(22)!r})
seen.append(sizes())
open({str(other)!r}, "w").write({text.format(3)!r})
seen.append(sizes())
os.unlink({str(file)!r})
seen.append(sizes())
print(json.dumps(seen))
"""

    seen = answer(project, LOAD.format(command="scheduler") + task)

    assert seen == [[1, False], [22, False], [22, 3], [False, 3]]
    for left in (other, *locks):
        left.unlink()
