"""`make run` that is killed in the middle of the training: no process is left, and the next run succeeds."""

import json
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from include.services.embedded.guard import descendants
from tests.support.airflow_api import wait_for
from tests.support.copies import BUILD, ROOT, clean_environment
from tests.support.home import PATIENCE, Home, descendants_with


@pytest.fixture(scope="module")
def home(copy_project: Callable[[], Path]) -> Home:
    return Home(copy_project())


@pytest.mark.parametrize(
    ("number", "victim"),
    [(signal.SIGTERM, "front"), (signal.SIGKILL, "front"), (signal.SIGKILL, "worker")],
)
def test_no_process_is_left_however_a_run_ends(home, number, victim):
    conf = {"model": {"C": 1.5 + number + len(victim)}}  # not trained before
    front = home.start("run", CONF=json.dumps(conf))
    services = ("postgres -D", "bin/weed -", "embedded.mlflow_server", "-m include.stages.train_and_evaluate")
    below = descendants_with(front, *services, detail=home.logs)
    worker = next(process for process in below if process.ppid() == front.pid)
    home.see_sockets(below)
    (front if victim == "front" else worker).send_signal(number)

    front.communicate(timeout=PATIENCE)

    _, left = psutil.wait_procs(below, timeout=120)
    assert left == []
    assert home.wait_until_gone() == []
    assert home.left() == []
    assert front.returncode != 0


def test_a_run_after_one_that_was_killed_succeeds(home):
    front = home.start("run")
    below = descendants_with(
        front, "postgres -D", "bin/weed -", "embedded.mlflow_server", "ml_operators.dag_test", detail=home.logs
    )
    for process in (front, *below):  # all at once, as a machine that loses its power
        process.kill()
    front.communicate(timeout=PATIENCE)
    assert home.wait_until_gone() == []

    code, output = home.run("run", CONF='{"split": {"test_size": 0.3}, "force": true}')
    shutil.rmtree(home.temporary, ignore_errors=True)  # killed processes leave files, and other tests look for those

    assert code == 0, output + home.logs()
    assert re.search(r"^ *stages  executed: get_data, preprocess, train_and_evaluate$", output, re.MULTILINE)
    assert "dvc status  changed: preprocess, train_and_evaluate" in output  # config.yaml says something else


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_test_run_that_is_killed_leaves_no_process(number):
    """Its services end by themselves, and so do its workers and their Airflow."""
    before = set(BUILD.glob("services-*"))
    front = subprocess.Popen(
        [sys.executable, "-m", "pytest", "--quiet", "--numprocesses", "1", "tests/integration/test_any_project.py"],
        cwd=ROOT, env=clean_environment(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True, start_new_session=True,
    )  # fmt: skip
    try:
        own = wait_for(lambda: set(BUILD.glob("services-*")) - before, PATIENCE).pop()
        wait_for((own / "services.json").exists, PATIENCE)
        workers = descendants(front.pid)
        assert len(processes_below(own)) >= 3
    finally:
        front.send_signal(number)
        front.communicate(timeout=PATIENCE)

    wait_for(lambda: not processes_below(own), 120, lambda: str(processes_below(own)))
    _, left = psutil.wait_procs(workers, timeout=120)
    assert left == []


def processes_below(folder: Path) -> list[str]:
    """Command lines of the processes that name the folder, or run in it."""
    return Home(folder).processes()
