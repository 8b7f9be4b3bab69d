"""`make run` that is interrupted while DVC checks out the results, when the services have stopped already."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from include.services.embedded.state import State

ROOT = Path(__file__).parents[2]
# The command, but for services, run and DVC; of what it says at the end there is none.
RUN = """
import json, subprocess, sys, time
from contextlib import contextmanager
from unittest.mock import MagicMock
from include.services.embedded import __main__ as command, run

@contextmanager
def nothing(*_, **__):
    yield MagicMock(), lambda: None

@contextmanager
def dag_process(*_):
    yield MagicMock()

def materialise(*_):
    done = subprocess.run([sys.executable, "-c", "import time; print('ready', flush=True); time.sleep(60)"])
    time.sleep(1)  # as long as it takes to undo
    state = run.State.default()
    (state.root / "undone").write_text(json.dumps([done.returncode, state.a_run_is_going()]))

run.starting, run.dag_process, run.materialise = nothing, dag_process, materialise
run.process_environment = lambda *_: {}
run.LineageStore = run._summary = MagicMock()
sys.exit(command.main())
"""


@pytest.fixture
def start(tmp_path) -> Callable[[str], "subprocess.Popen[str]"]:
    def start(command: str) -> "subprocess.Popen[str]":
        env = {**os.environ, "EMBEDDED_DIR": str(tmp_path), "PYTHONPATH": f"{ROOT}:{ROOT}/plugins"}
        return subprocess.Popen(
            [sys.executable, "-c", RUN, command], cwd=ROOT, env=env, text=True, stdout=subprocess.PIPE
        )

    return start


def until(process: "subprocess.Popen[str]", line: str) -> None:
    assert line in iter(process.stdout.readline, "")


def test_the_checkout_ends_at_once_and_is_undone_before_others_may_go_on(start, tmp_path):
    with start("run") as process:
        until(process, "ready\n")
        began = time.monotonic()
        process.send_signal(signal.SIGINT)
        code = process.wait()

    assert code == 130
    assert time.monotonic() - began < 30
    returned, going = json.loads((tmp_path / "undone").read_text())
    assert (returned, going) == (-signal.SIGTERM, True)
    assert not State(tmp_path).a_run_is_going()


def test_the_state_is_not_forgotten_before_the_checkout_has_ended(start, tmp_path):
    with start("run") as run:
        until(run, "ready\n")
        with start("forget") as forget:
            until(forget, "waiting for `make run` to end: it uses the cache ...\n")
            run.send_signal(signal.SIGINT)
            forget.wait()
            assert (tmp_path / "undone").exists()
