"""A command is ended with all that it started, also if that does not listen."""

import signal
import subprocess
import time

import psutil

from dvc_airflow.process_group import GRACE_SECONDS, end_group


def start(script: str) -> "subprocess.Popen[str]":
    process = subprocess.Popen(["bash", "-c", script], start_new_session=True, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def test_the_whole_group_ends_on_sigterm():
    process = start("sleep 600 & echo ready; wait")
    (child,) = psutil.Process(process.pid).children()

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
