"""The log of ``airflow dags test``, shown as progress."""

import json
import sys
import time
from contextlib import suppress
from types import SimpleNamespace

import pytest

from include.errors import ConfigError
from include.services.embedded.dag_run import DagRun, Follower, brief, dag_process
from include.services.embedded.guard import Interrupted
from include.services.embedded.run import run as make_run
from include.services.embedded.state import State
from include.services.embedded.task_logs import TaskLogs


@pytest.fixture
def follower(tmp_path) -> Follower:
    return Follower("ml_pipeline", TaskLogs(tmp_path / "logs"))


@pytest.fixture
def shown(follower, capsys):
    """Have these events come: what is known of the run then, and what was printed."""

    def shown(*events: dict) -> tuple[DagRun, str]:
        for event in events:
            follower.note(event)
        return follower.run, capsys.readouterr().out

    return shown


def tried(task: str, *events: dict) -> list[dict]:
    """A try of a task, as it is logged."""
    running = f"[DAG TEST] running task <TaskInstance: ml_pipeline.{task} manual__1 [TaskInstanceState.SCHEDULED]>"
    return [
        {"event": f"[DAG TEST] starting task_id={task} map_index=-1"},
        {"event": running},
        *events,
        {"event": f"[DAG TEST] end task task_id={task} map_index=-1"},
    ]


def test_a_stage_is_shown_when_it_has_ended_with_its_outcome_and_reason(shown):
    run, said = shown(
        {"event": "[DAG TEST] starting task_id=pipeline.train map_index=-1"},
        {"event": "Stage train: executed (model.C 1.0 -> 2.5)"},
        {"event": "[DAG TEST] end task task_id=pipeline.train map_index=-1"},
        {"event": "DagRun Finished: dag_id=x, logical_date=y, run_id=manual__1, run_start_date=z"},
    )

    assert said == "  ✔ pipeline.train                executed: model.C 1.0 -> 2.5\n"
    assert (run.run_id, run.failures) == ("manual__1", {})


def test_a_failed_task_is_shown_in_one_line_and_its_whole_message_is_kept(shown):
    cause = "dvc repro failed:\n> python -m x\nerror: a.csv: no column 'y'.\nERROR: failed"
    run, said = shown(
        {"event": "[DAG TEST] starting task_id=pipeline.train map_index=-1"},
        {"event": "Task failed with exception", "exception": [{"exc_value": cause}]},
        {"event": "[DAG TEST] end task task_id=pipeline.train map_index=-1"},
    )

    assert said == "  ✘ pipeline.train                a.csv: no column 'y'.\n"
    assert run.failures == {"pipeline.train": cause}


def test_a_task_that_succeeds_when_it_is_tried_again_is_no_failure(shown):
    run, _ = shown(
        {"event": "[DAG TEST] starting task_id=push map_index=-1"},
        {"event": "Task failed with exception", "exception": [{"exc_value": "away"}]},
        {"event": "[DAG TEST] end task task_id=push map_index=-1"},
        {"event": "[DAG TEST] starting task_id=push map_index=-1"},
        {"event": "[DAG TEST] end task task_id=push map_index=-1"},
    )

    assert run.failures == {}


@pytest.mark.parametrize(("cause", "line"), [("one", "one"), ("one\ntwo", "one"), ("x\nerror: y\nz", "y"), ("", "")])
def test_the_line_that_says_what_is_wrong(cause, line):
    assert brief(cause) == line


FAILED = {"level": "error", "event": "Task failed with exception", "exception": [{"exc_value": "away"}]}


def test_each_try_of_a_task_has_its_log_where_airflow_looks_for_it(shown, tmp_path):
    from airflow.configuration import conf
    from airflow.utils.helpers import parse_template_string

    _, template = parse_template_string(conf.get("logging", "log_filename_template"))
    shown({"event": "before"}, *tried("push", FAILED), *tried("push", {"event": "pushed"}), {"event": "after"})

    def logged(attempt: int) -> list[dict]:
        ti = SimpleNamespace(dag_id="ml_pipeline", run_id="manual__1", task_id="push", map_index=-1)
        file = tmp_path / "logs" / template.render(ti=ti, try_number=attempt)
        return [json.loads(line) for line in file.read_text().splitlines()]

    first, second = logged(1), logged(2)
    assert [entry["event"] for entry in first] == ["Task failed with exception"]
    assert first[0]["error_detail"] == FAILED["exception"]
    assert [entry["event"] for entry in second] == ["pushed"]
    assert all(entry["timestamp"] for entry in (*first, *second))


def test_what_airflow_itself_does_for_a_task_is_not_in_the_log_of_the_task(shown, tmp_path):
    logger = "airflow.api_fastapi.execution_api.routes.task_instances"
    shown(*tried("push", {"event": "Task started", "logger": logger}))

    assert list((tmp_path / "logs").rglob("*.log")) == []


def test_a_key_that_stands_twice_in_the_conf_is_named_before_anything_is_started(monkeypatch, tmp_path):
    monkeypatch.setenv("CONF", '{"model": {"C": 1, "C": 2}}')

    with pytest.raises(ConfigError, match=r"^CONF: the key 'C' stands there twice\. Give it once\.$"):
        make_run(State(tmp_path / "none"))
    assert not (tmp_path / "none").exists()


def test_a_run_that_is_interrupted_ends_soon_though_its_process_ignores_sigterm(tmp_path, monkeypatch):
    python = tmp_path / "python"  # as a process in which Airflow's task runner has been
    code = "signal.signal(signal.SIGTERM, lambda *_: None); print('ready', flush=True); time.sleep(60)"
    python.write_text(f"#!{sys.executable}\nimport signal, time\n{code}\n")
    python.chmod(0o755)
    environment = {"AIRFLOW__LOGGING__BASE_LOG_FOLDER": str(tmp_path), "PYTHONPATH": "", "PATH": "/usr/bin:/bin"}
    monkeypatch.setattr(sys, "executable", str(python))

    began = time.monotonic()
    with suppress(Interrupted), dag_process("ml_pipeline", environment, tmp_path / "log") as process:
        assert process._process.stdout.readline() == "ready\n"
        raise Interrupted

    assert process._process.returncode == -9
    assert time.monotonic() - began < 30
