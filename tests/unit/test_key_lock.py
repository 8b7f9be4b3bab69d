"""One execution per key, whatever becomes of the process that has the lock."""

import os
import subprocess
import sys
import time
from pathlib import Path

from dvc_airflow.key_lock import exclusive

PLUGINS = str(Path(__file__).parents[2] / "plugins")
HOLD = """
import sys, time
from pathlib import Path
from dvc_airflow.key_lock import exclusive
with exclusive(Path(sys.argv[1]), "key") as waited:
    print(waited, flush=True)
    time.sleep(float(sys.argv[2]))
"""


def holder(folder: Path, seconds: float) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", HOLD, str(folder), str(seconds)]
    process = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": PLUGINS}, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "False\n"
    return process


def test_the_second_waits_for_the_first_and_knows_that_it_waited(tmp_path):
    process = holder(tmp_path, 1.0)

    with exclusive(tmp_path, "key") as waited:
        assert waited
    process.communicate(timeout=30)
    assert process.returncode == 0


def test_another_key_does_not_wait(tmp_path):
    process = holder(tmp_path, 60)
    started = time.monotonic()

    with exclusive(tmp_path, "other") as waited:
        assert not waited

    assert process.poll() is None
    assert time.monotonic() - started < 30
    process.kill()
    process.communicate()


def test_a_holder_that_is_killed_leaves_no_lock(tmp_path):
    process = holder(tmp_path, 600)
    process.kill()
    process.communicate()

    with exclusive(tmp_path, "key") as waited:
        assert not waited
