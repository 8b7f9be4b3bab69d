"""The process in which `make run` runs the DAG: it waits until it is told to begin, and says why it cannot."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from include.errors import ConfigError
from include.services.embedded.dag_run import dag_process

ROOT = Path(__file__).parents[2]
GOOD = "from airflow.sdk import DAG\ngood = DAG('good', schedule=None)\n"
WRONG = (
    "from airflow.sdk import DAG\nfrom dvc_airflow import DvcTaskGroup\n"
    "with DAG('wrong', schedule=None):\n    DvcTaskGroup('stages', project_dir='project')\n"
)


@pytest.fixture
def environment(tmp_path):
    """Of a folder with DAGs of all kinds."""
    (tmp_path / "good.py").write_text(GOOD)
    (tmp_path / "bad.py").write_text("from airflow.sdk import DAG\nimport no_such_module\n")
    (tmp_path / "wrong.py").write_text(WRONG)
    (tmp_path / "project" / ".dvc").mkdir(parents=True)
    (tmp_path / "project" / "dvc.yaml").write_text("stages:\n  train: [\n    cmd: python train.py\n")
    return {
        "AIRFLOW_HOME": str(tmp_path / "home"), "AIRFLOW__CORE__DAGS_FOLDER": str(tmp_path),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False", "AIRFLOW__LOGGING__BASE_LOG_FOLDER": str(tmp_path / "logs"),
        "PATH": os.environ["PATH"], "PYTHONPATH": f"{ROOT}:{ROOT}/plugins", "PYTHONWARNINGS": "ignore",
    }  # fmt: skip


@pytest.fixture
def started(environment, tmp_path):
    """Run it for a DAG, with this on stdin; there is no database, so that a run would fail with a traceback."""

    def started(dag_id: str, told: str, *command: str, **variables: str) -> "subprocess.CompletedProcess[str]":
        command = command or ("-m", "ml_operators.dag_test")
        return subprocess.run(
            [sys.executable, *command, dag_id],
            env=environment | variables, cwd=tmp_path, input=told, capture_output=True, text=True, timeout=120,
        )  # fmt: skip

    return started


def test_nothing_runs_if_who_started_it_gives_up(started):
    done = started("good", "")

    assert done.returncode == 1
    assert "Traceback" not in done.stdout + done.stderr


def test_it_says_that_there_is_no_such_dag_and_does_not_wait(started):
    done = started("other", "")

    assert done.returncode == 1
    said = json.loads(done.stdout.splitlines()[-1])
    assert not said["dag"]
    assert said["reason"].endswith("/other.py has no DAG other")


def refused(dag_id, environment, log) -> str:
    with dag_process(dag_id, environment, log) as process, pytest.raises(ConfigError) as refusal:
        process.require_dag()
    return str(refusal.value)


def test_a_project_that_cannot_be_read_is_refused_in_its_own_words_and_the_log_has_the_traceback(environment, tmp_path):
    said = refused("wrong", environment, tmp_path / "log")

    assert said.startswith(f"{tmp_path}/project: './dvc.yaml' is invalid.\n\nWhile parsing a flow sequence, in line 2")
    assert "Traceback" not in said
    assert "Traceback" in (tmp_path / "log").read_text()


def test_a_fault_of_the_code_is_refused_with_the_place(environment, tmp_path):
    said = refused("bad", environment, tmp_path / "log")

    assert said.startswith("the file of the DAG bad cannot be imported:\nTraceback")
    assert f'"{tmp_path}/bad.py", line 2' in said
    assert said.endswith("No module named 'no_such_module'")


def test_airflows_api_is_ready_before_the_run_and_without_a_database(started):
    code = (
        "from airflow.sdk.execution_time.supervisor import in_process_api_server as api\n"
        "from ml_operators import dag_test; dag_test.main(); print(api().app._cadwyn_initialized)"
    )
    done = started("good", "", "-c", code)

    assert done.stdout.splitlines()[-1:] == ["True"], done.stderr


def test_it_ends_when_openlineage_has_told_all_of_the_run_and_leaves_no_process_of_it(started, tmp_path):
    """Such a process would keep the output open, and `make run` would read it for ever."""
    code = (
        "import time\n"
        "from pathlib import Path\n"
        "from airflow.providers.openlineage.plugins.listener import get_openlineage_listener\n"
        "from ml_operators import dag_test\n"
        "def tell():\n"
        "    time.sleep(1)\n"
        "    Path('told').touch()\n"
        "get_openlineage_listener().submit_callable(tell)\n"
        "dag_test.end(3)"
    )
    transport = json.dumps({"type": "file", "log_file_path": str(tmp_path / "events"), "append": True})
    done = started("good", "", "-c", code, AIRFLOW__OPENLINEAGE__TRANSPORT=transport)

    assert done.returncode == 3, done.stderr
    assert (tmp_path / "told").exists()
