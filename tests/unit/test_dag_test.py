"""The process in which `make run` runs the DAG: it waits until it is told to begin, and says why it cannot."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
GOOD = "from airflow.sdk import DAG\nDAG('good', schedule=None)\n"


@pytest.fixture
def started(tmp_path):
    """Run it for a DAG, with this on stdin; there is no database, so that a run would fail with a traceback."""

    def started(dag_id: str, told: str, *command: str, **variables: str) -> "subprocess.CompletedProcess[str]":
        (tmp_path / "good.py").write_text(GOOD)
        (tmp_path / "bad.py").write_text("from airflow.sdk import DAG\nimport no_such_module\n")
        env = {
            "AIRFLOW_HOME": str(tmp_path / "home"), "AIRFLOW__CORE__DAGS_FOLDER": str(tmp_path),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False", "PATH": os.environ["PATH"],
            "PYTHONPATH": f"{ROOT}:{ROOT}/plugins", "PYTHONWARNINGS": "ignore",
            **variables,
        }  # fmt: skip
        command = command or ("-m", "ml_operators.dag_test")
        return subprocess.run(
            [sys.executable, *command, dag_id],
            env=env, cwd=tmp_path, input=told, capture_output=True, text=True, timeout=120,
        )  # fmt: skip

    return started


def test_nothing_runs_if_who_started_it_gives_up(started):
    done = started("good", "")

    assert done.returncode == 1
    assert "Traceback" not in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("dag_id", "said"), [("other", "/other.py has no DAG other"), ("bad", "No module named 'no_such_module'")]
)
def test_it_says_why_there_is_no_dag(started, dag_id, said):
    done = started(dag_id, "null\n")

    assert done.returncode == 1
    assert said in done.stdout


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
