"""`make run` from outside: what a newcomer sees, what is left, and what it says when something is wrong.

How it ends when it is killed at any point is in test_killed_runs.py.
"""

import json
import os
import re
import signal
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from include.services.embedded.state import free_ports
from tests.support.airflow_api import AirflowApi, wait_for
from tests.support.home import PATIENCE, Home, descendants_with

MISSING = "s3://ml-pipeline/missing.csv"


@pytest.fixture(scope="module")
def home(copy_project: Callable[[], Path]) -> Home:
    return Home(copy_project())


@pytest.fixture(scope="module")
def interrupted(home: Home) -> dict[str, Any]:
    """Ctrl-C in the first stage of the very first run, beside which another one was tried."""
    front = home.start("run")
    services = ("postgres -D", "bin/weed -", "embedded.mlflow_server")
    descendants_with(front, *services, detail=home.logs)
    refused = home.run("run")
    below = descendants_with(front, *services, "-m include.stages.get_data", detail=home.logs)
    home.see_sockets(below)
    front.send_signal(signal.SIGINT)
    front.communicate(timeout=PATIENCE)
    _, left = psutil.wait_procs(below, timeout=120)
    left = [*left, *home.wait_until_gone()]
    return {"refused": refused, "code": front.returncode, "left": left, "files": home.left()}


@pytest.fixture(scope="module")
def first(home: Home, interrupted: dict[str, Any]) -> str:
    """The run after that, which begins anew."""
    code, output = home.run("run")
    assert code == 0, output + home.logs()
    return output


@pytest.fixture(scope="module")
def second(home: Home, first: str) -> str:
    """The same again, in a shell of `make env-vars`: beside services that run already."""
    exports = home.variables()
    assert exports == home.variables()  # started once
    _, status = home.run("status")
    try:
        code, output = home.run("run")
    finally:
        _, stopped = home.run("stop")
    assert code == 0, output + home.logs()
    assert status.startswith("keep runs, process ")
    assert stopped.startswith("stopped keep")
    assert home.wait_until_gone() == []
    return output


@pytest.fixture(scope="module")
def beside(home: Home, second: str) -> dict[str, Any]:
    """Runs beside `make serve`: one as soon as its services answer, one that fails; and what its Airflow knows."""
    airflow_port, mlflow_port = free_ports(2)
    front = home.start("serve", AIRFLOW_PORT=str(airflow_port), MLFLOW_PORT=str(mlflow_port))
    try:
        descendants_with(front, "airflow scheduler", detail=home.logs)
        front_of_run = home.start("run", CONF=json.dumps({"model.C": 3.0}))
        going = wait_for(lambda: "run     make run works beside it" in (said := home.run("status")[1]) and said, 60)
        output, _ = front_of_run.communicate(timeout=PATIENCE)
        good = (front_of_run.returncode, output)
        bad = home.run("run", CONF=json.dumps({"data": {"source": MISSING}}))
        _, status = home.run("status")
        password = json.loads((home.project / ".embedded" / "airflow" / "passwords.json").read_text())["admin"]
        airflow = AirflowApi(f"http://127.0.0.1:{airflow_port}", "admin", password)
        runs = airflow.runs("manual__")
        logs = {run_id: airflow.log(run_id, "resolve_config", 1) for run_id in (line(second, "run"), *runs)}
    finally:
        front.send_signal(signal.SIGINT)
        said, _ = front.communicate(timeout=PATIENCE)
    assert (front.returncode, home.wait_until_gone(), home.left()) == (0, [], []), said
    return {"good": good, "bad": bad, "going": going, "status": status, "url": airflow.url, "runs": runs, "logs": logs}


def line(output: str, name: str) -> str:
    (found,) = re.findall(rf"^ *{name}  (.*)$", output, re.MULTILINE)
    return found


def test_the_first_run_succeeds_and_sums_up(first):
    assert float(re.search(r"test_accuracy (\d\.\d+)", line(first, "metrics"))[1]) >= 0.9
    # The stage that the interrupted run was in may have been done.
    assert re.match(r"executed: (get_data, )?preprocess, train_and_evaluate(;|$)", line(first, "stages"))
    assert line(first, "model") == "iris-classifier version 1, alias champion"
    assert re.fullmatch(r"s3://ml-pipeline: \d+ objects, [\d.]+ [KM]iB", line(first, "bucket"))
    assert line(first, "dvc status") == "clean"


def test_the_results_lie_in_the_checkout_and_git_sees_only_the_lock(home, first):
    git = subprocess.run(["git", "status", "--porcelain"], cwd=home.project, capture_output=True, text=True, check=True)
    report = json.loads((home.project / "reports" / "metrics.json").read_text())

    assert report["test"]["accuracy"] >= 0.9
    assert (home.project / "models" / "log_reg_model.pkl").is_file()
    assert git.stdout == "?? dvc.lock\n"


def test_the_second_run_executes_nothing_and_makes_no_second_version(first, second):
    assert line(second, "stages").startswith("skipped, because their inputs have been seen before: get_data")
    assert line(second, "model") == line(first, "model")
    assert line(second, "MLflow run") == line(first, "MLflow run")
    assert line(second, "dvc status") == "clean"


def test_beside_make_serve_its_scheduler_does_the_work_and_the_output_is_the_same(beside):
    code, output = beside["good"]

    assert code == 0, output
    assert "✔ pipeline.train_and_evaluate   executed: model.logistic_regression.C 1.0 -> 3.0" in output
    assert [text[4:].split()[0] for text in output.splitlines() if text.startswith("  ✔")][-1] == "promote_model"
    assert line(output, "stages").startswith("executed: train_and_evaluate; skipped")
    assert beside["runs"][line(output, "run")]["triggered_by"] == "rest_api"


def test_a_run_beside_make_serve_that_fails_says_why_and_where_its_log_is(beside):
    code, output = beside["bad"]

    assert code == 1
    assert re.search(rf"✘ resolve_config +data\.source: .*{re.escape(MISSING)}", output), output
    (run_id,) = [run_id for run_id, run in beside["runs"].items() if run["state"] == "failed"][:1]
    assert f"Full log: {beside['url']}/dags/ml_pipeline/runs/manual__" in output
    assert MISSING in beside["logs"][run_id]


def test_the_status_tells_of_airflow_and_of_a_run_that_is_going(beside):
    assert f"  airflow {beside['url']}" in beside["going"]
    assert f"  airflow {beside['url']} (user admin)\n" in beside["status"]
    assert "make run" not in beside["status"]


def test_the_web_ui_shows_the_logs_of_a_run_without_it(beside, second):
    assert "Source sklearn:iris, version built-in" in beside["logs"][line(second, "run")]


def test_a_run_leaves_no_process_and_nothing_in_the_temporary_folder(home, first):
    assert home.processes() == []
    assert home.left() == []


def test_all_state_is_for_its_owner_or_holds_no_secret(home, first):
    state = home.project / ".embedded"
    secrets = json.loads((state / "secrets.json").read_text())
    # The store logs its access key.
    private = {state / "secrets.json", state / "airflow" / "passwords.json", state / "logs" / "store.log"}

    files = [*state.rglob("*.log"), *(state / "airflow").rglob("*"), *(home.project / ".dvc").rglob("*")]
    open_to_all = [file for file in files if file.is_file() and file not in private]
    assert len(open_to_all) > 5
    for file in open_to_all:
        content = file.read_bytes()
        assert [name for name, value in secrets.items() if value.encode() in content] == [], file
    assert {file.stat().st_mode & 0o077 for file in private if file.exists()} == {0}


@pytest.mark.parametrize(
    ("conf", "said"),
    [
        ("{", "error: CONF"),
        ("[1]", "error: CONF"),
        ('{"model.C": 1, "model.C": 2}', "error: CONF: the key 'model.C' stands there twice. Give it once."),
        ('{"model": {"c": 1}}', "unknown key 'model.c' (did you mean 'model.C'?)"),
    ],
)
def test_a_conf_that_is_wrong_is_named_before_anything_is_started(home, first, conf, said):
    before = (home.project / "dvc.lock").read_bytes()

    code, output = home.run("run", CONF=conf)

    assert code == os.EX_CONFIG
    assert said in output
    assert len(output.splitlines()) == 1
    assert (home.project / "dvc.lock").read_bytes() == before


def test_a_port_in_use_is_named_and_nothing_is_left(home):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        code, output = home.run("run", STORE_PORT=str(port))

    assert code == os.EX_CONFIG
    assert (
        f"error: port {port} on 127.0.0.1 cannot be used (Address already in use). Choose another: STORE_PORT="
        in output
    )
    assert home.processes() == []


def test_a_run_that_is_interrupted_leaves_no_process(interrupted):
    assert interrupted["code"] != 0
    assert interrupted["left"] == []
    assert interrupted["files"] == []


def test_only_one_run_at_a_time(interrupted):
    code, output = interrupted["refused"]

    assert code == 1
    assert "error: another process is using" in output
