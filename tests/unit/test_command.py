"""A command of a stage: what it gets, what its failure means, and that it ends with all that it started."""

import logging
import signal
import subprocess
import threading
import time

import psutil
import pytest

from dvc_airflow.command import GRACE_SECONDS, CommandRunner, base_environment, end_group
from dvc_airflow.failure import CommandError
from include.services.embedded.guard import descendants


def start(script: str) -> "subprocess.Popen[str]":
    process = subprocess.Popen(["bash", "-c", script], start_new_session=True, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def test_the_whole_group_ends_on_sigterm():
    process = start("sleep 600 & echo ready; wait")
    (child,) = descendants(process.pid)

    end_group(process.pid)

    assert process.wait(5) == -signal.SIGTERM
    assert not child.is_running() or child.status() == psutil.STATUS_ZOMBIE
    process.communicate()


def test_what_ignores_sigterm_is_killed():
    process = start("trap '' TERM; echo ready; while true; do sleep 0.1; done")
    started = time.monotonic()

    end_group(process.pid)

    assert process.wait(5) == -signal.SIGKILL
    assert time.monotonic() - started >= GRACE_SECONDS
    process.communicate()


def test_a_group_that_is_gone_is_no_error():
    process = start("echo ready")
    process.communicate()

    end_group(process.pid)


def test_a_command_runs_in_the_folder_with_the_environment_that_is_given_and_no_other(tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("MINE", "hunter2")

    with caplog.at_level(logging.INFO):
        CommandRunner().run("pwd; echo $GIVEN-$MINE; cat", {"PATH": "/usr/bin:/bin", "GIVEN": "yes"}, tmp_path)

    assert caplog.messages[1:] == [str(tmp_path), "yes-"]


def test_a_failed_command_raises_what_it_printed_last_on_both_streams(tmp_path):
    with pytest.raises(CommandError, match="failed with exit code 3") as caught:
        CommandRunner().run("echo out; echo err >&2; exit 3", base_environment(), tmp_path)

    assert str(caught.value).endswith("Its last output was:\nout\nerr")


def test_of_a_progress_bar_the_last_step_is_shown(tmp_path, caplog):
    with caplog.at_level("INFO"):
        CommandRunner().run("printf '10%%\\r50%%\\r100%%\\nwindows\\r\\n'", base_environment(), tmp_path)

    assert caplog.messages[1:] == ["100%", "windows"]


def test_a_failure_without_a_word_says_so(tmp_path):
    with pytest.raises(CommandError, match=r"exit code 1\. It printed nothing\."):
        CommandRunner().run("false", base_environment(), tmp_path)


def test_output_that_is_not_text_is_shown_all_the_same(tmp_path):
    with pytest.raises(CommandError, match=r"\\xff"):
        CommandRunner().run("printf 'a\\xffb\\n'; exit 1", base_environment(), tmp_path)


def test_a_running_command_can_be_ended_from_elsewhere(tmp_path):
    runner = CommandRunner()
    assert not runner.end()
    ended = []

    def end_when_it_runs() -> None:
        while not (tmp_path / "runs").exists():
            time.sleep(0.02)
        ended.append(runner.end())

    thread = threading.Thread(target=end_when_it_runs)
    thread.start()
    with pytest.raises(CommandError, match="exit code -15"):
        runner.run("touch runs; sleep 600", base_environment(), tmp_path)
    thread.join()

    assert ended == [True]
    assert not runner.end()


class TimeOutError(Exception):
    pass


def test_an_exception_while_a_command_runs_ends_it(tmp_path):
    """As Airflow's time-out does, which is raised by a signal."""

    def time_out(*_: object) -> None:
        raise TimeOutError

    before = signal.signal(signal.SIGALRM, time_out)
    signal.setitimer(signal.ITIMER_REAL, 0.5)
    try:
        with pytest.raises(TimeOutError):
            CommandRunner().run("echo $$ > pid; sleep 600", base_environment(), tmp_path)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)

    assert not psutil.pid_exists(int((tmp_path / "pid").read_text()))


def test_a_stage_gets_no_airflow_setting_and_no_secret(monkeypatch):
    for name in ("AIRFLOW__API_AUTH__JWT_SECRET", "AWS_SECRET_ACCESS_KEY", "MLFLOW_TRACKING_PASSWORD", "MY_TOKEN"):
        monkeypatch.setenv(name, "hunter2")

    assert "hunter2" not in str(base_environment())
