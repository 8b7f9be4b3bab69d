"""`make run` and `make serve` from outside: what a newcomer sees, and that no process is left behind."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
import requests

from tests.conftest import clean_environment

PATIENCE = 600  # seconds: a hang is meant, not a slow machine, on which the first run reads everything from a cold disk


class Home:
    """A fresh copy of the project, with the state of its own embedded parts."""

    def __init__(self, project: Path) -> None:
        self.project = project
        self.env = {**clean_environment(), "PYTHONPATH": str(project)}

    def start(self, command: str, **env: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [sys.executable, "-m", "include.embedded", command],
            cwd=self.project,
            env={**self.env, **env},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, command: str, **env: str) -> tuple[int, str]:
        process = self.start(command, **env)
        try:
            output, _ = process.communicate(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            process.terminate()  # which ends all that it started
            output, _ = process.communicate()
            raise AssertionError(f"`{command}` was not done after {PATIENCE} s; it said:\n{output}") from None
        return process.returncode, output

    def processes(self) -> list[str]:
        """Command lines of all processes that work for this copy."""
        found = []
        for process in psutil.process_iter(["cmdline", "cwd"]):
            line = " ".join(process.info["cmdline"] or ())
            if str(self.project) in line or process.info["cwd"] == str(self.project):
                found.append(line)
        return found

    def wait_until_gone(self) -> list[str]:
        end = time.monotonic() + 40
        while (left := self.processes()) and time.monotonic() < end:
            time.sleep(0.2)
        return left


def descendants_with(front: "subprocess.Popen[str]", *words: str) -> list[psutil.Process]:
    """All processes below ``front``, as soon as there is one for each of the words."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        below = psutil.Process(front.pid).children(recursive=True)
        lines = []
        for process in below:
            try:
                lines.append(" ".join(process.cmdline()))
            except psutil.Error:
                continue
        if all(any(word in line for line in lines) for word in words):
            return below
        time.sleep(0.05)
    raise AssertionError(lines)


@pytest.fixture(scope="module")
def home(copy_project: Callable[[], Path]) -> Home:
    return Home(copy_project())


@pytest.fixture(scope="module")
def first(home):
    return home.run("run")


@pytest.fixture(scope="module")
def second(home, first):
    return home.run("run")


def line(output: str, name: str) -> str:
    (found,) = re.findall(rf"^ *{name}  (.*)$", output, re.MULTILINE)
    return found


def test_the_first_run_succeeds_and_sums_up(home, first):
    code, output = first

    assert code == 0, output
    assert float(re.search(r"test_accuracy (\d\.\d+)", line(output, "metrics"))[1]) >= 0.9
    assert line(output, "stages") == "executed: get_data, preprocess, train_and_evaluate"
    assert line(output, "model") == "iris-classifier version 1, alias champion"
    assert re.fullmatch(r"s3://ml-pipeline: \d+ objects, \d+ KiB", line(output, "bucket"))
    assert line(output, "dvc status") == "clean"


def test_the_results_lie_in_the_checkout_and_git_sees_only_the_lock(home, first):
    report = json.loads((home.project / "reports" / "metrics.json").read_text())

    assert report["test"]["accuracy"] >= 0.9
    assert (home.project / "models" / "log_reg_model.pkl").is_file()
    done = subprocess.run(
        ["git", "status", "--porcelain"], cwd=home.project, capture_output=True, text=True, check=True
    )
    assert done.stdout == "?? dvc.lock\n"


def test_the_second_run_executes_nothing_and_makes_no_second_version(first, second):
    code, output = second

    assert code == 0, output
    assert line(output, "stages").startswith("not run again, for their inputs are known: get_data, preprocess, train")
    assert line(output, "model") == line(first[1], "model")
    assert line(output, "MLflow run") == line(first[1], "MLflow run")
    assert line(output, "dvc status") == "clean"


def test_a_run_leaves_no_process(home, second):
    assert home.processes() == []


def test_all_state_is_for_its_owner_or_holds_no_secret(home, second):
    state = home.project / ".embedded"
    secrets = json.loads((state / "secrets.json").read_text())
    private = {state / "secrets.json", state / "airflow" / "passwords.json"}

    for file in (*state.rglob("*.log"), *(state / "airflow").rglob("*"), *(home.project / ".dvc").rglob("*")):
        if file.is_file() and file not in private:
            content = file.read_bytes()
            assert [name for name, value in secrets.items() if value.encode() in content] == [], file
    assert {file.stat().st_mode & 0o077 for file in private if file.exists()} == {0}


def test_conf_overrides_a_value(home, second):
    code, output = home.run("run", CONF='{"split": {"test_size": 0.3}}')

    assert code == 0, output
    assert line(output, "stages").startswith("executed: preprocess, train_and_evaluate")
    assert line(output, "dvc status") == "changed: preprocess, train_and_evaluate"  # config.yaml says something else


@pytest.mark.parametrize("conf", ["{", "[1]", '{"model": {"c": 1}}'])
def test_a_conf_that_is_wrong_is_named_and_the_files_stay(home, second, conf):
    before = (home.project / "dvc.lock").read_bytes()

    code, output = home.run("run", CONF=conf)

    assert code != 0
    assert "CONF" in output or "unknown key 'model.c'; did you mean 'model.C'" in output
    assert "Traceback" not in output
    assert (home.project / "dvc.lock").read_bytes() == before
    assert home.processes() == []


def test_a_port_in_use_is_named_and_nothing_is_left(home, second):
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


@pytest.mark.parametrize(
    ("number", "victim"),
    [(signal.SIGINT, "front"), (signal.SIGTERM, "front"), (signal.SIGKILL, "front"), (signal.SIGKILL, "worker")],
)
def test_no_process_is_left_however_a_run_ends_and_the_next_one_succeeds(home, second, number, victim):
    front = home.start("run", CONF=json.dumps({"model": {"C": 1.5 + time.time() % 1}}))
    below = descendants_with(front, "postgres -D", "weed mini", "mlflow server", "-m include.stages.train_and_evaluate")
    process = psutil.Process(front.pid)
    (process if victim == "front" else process.children()[0]).send_signal(number)

    front.communicate(timeout=PATIENCE)

    _, left = psutil.wait_procs(below, timeout=40)
    assert left == []
    assert home.wait_until_gone() == []
    assert front.returncode != 0
    if victim == "worker":
        code, output = home.run("run")
        assert code == 0, output


def test_only_one_run_at_a_time(home, second):
    front = home.start("run")
    try:
        descendants_with(front, "postgres -D")
        code, output = home.run("run")
    finally:
        front.communicate(timeout=PATIENCE)

    assert code != 0
    assert "error: another process is using" in output
    assert front.returncode == 0


def test_serve_keeps_all_up_on_loopback_and_a_triggered_run_succeeds(home, second):
    """With the real scheduler and LocalExecutor, triggered over the API that the web UI uses."""
    front = home.start("serve", AIRFLOW_PORT=_free(), MLFLOW_PORT=_free())
    try:
        said = ""
        while "Ctrl-C ends everything" not in said:
            text = front.stdout.readline()
            assert text, said
            said += text
        airflow, mlflow = re.search(r"Airflow  (\S+)", said)[1], re.search(r"MLflow  (\S+)", said)[1]
        password = json.loads((home.project / ".embedded" / "airflow" / "passwords.json").read_text())["admin"]
        assert password not in said
        assert requests.get(f"{airflow}/api/v2/dags", timeout=30).status_code == 401
        assert requests.get(f"{mlflow}/health", timeout=30).ok
        assert _listening_elsewhere(front.pid) == []
        run = _trigger(airflow, password, {"conf": {"model": {"C": 0.25}}, "logical_date": None})
    finally:
        front.send_signal(signal.SIGINT)
        last, _ = front.communicate(timeout=PATIENCE)

    assert (front.returncode, last.strip()) == (0, "All stopped.")
    assert run["state"] == "success"
    assert run["tasks"]["pipeline.train_and_evaluate"] == "success"
    assert run["tasks"]["pipeline.get_data"] == "skipped"
    assert home.wait_until_gone() == []


def test_env_vars_start_the_parts_once_and_stop_ends_them(home, second):
    try:
        code, first = home.run("env")
        assert code == 0, first
        _, again = home.run("env")
        _, status = home.run("status")
        run_code, output = home.run("run")
    finally:
        _, stopped = home.run("stop")

    exports = [line for line in first.splitlines() if line.startswith("export ")]
    assert exports == [line for line in again.splitlines() if line.startswith("export ")]
    assert any(line.startswith("export AIRFLOW__DATABASE__SQL_ALCHEMY_CONN=") for line in exports)
    assert status.startswith("keep runs, process ")
    assert run_code == 0, output
    assert stopped.startswith("stopped keep")
    assert home.wait_until_gone() == []


def _free() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


def _listening_elsewhere(pid: int) -> list:
    """Sockets that the process and its descendants open to others than this machine."""
    pids = {pid, *(child.pid for child in psutil.Process(pid).children(recursive=True))}
    return [
        connection.laddr
        for connection in psutil.net_connections("inet")
        if connection.pid in pids and connection.status == psutil.CONN_LISTEN and connection.laddr.ip != "127.0.0.1"
    ]


def _trigger(airflow: str, password: str, body: dict) -> dict:
    token = requests.post(f"{airflow}/auth/token", json={"username": "admin", "password": password}, timeout=30).json()
    headers = {"Authorization": f"Bearer {token['access_token']}"}
    runs = f"{airflow}/api/v2/dags/ml_pipeline/dagRuns"
    end = time.monotonic() + PATIENCE
    while requests.get(f"{airflow}/api/v2/dags/ml_pipeline", headers=headers, timeout=30).status_code != 200:
        assert time.monotonic() < end
        time.sleep(0.5)
    answer = requests.post(runs, json=body, headers=headers, timeout=30)
    assert answer.ok, answer.text
    page = f"{runs}/{answer.json()['dag_run_id']}"
    while (run := requests.get(page, headers=headers, timeout=30).json())["state"] not in ("success", "failed"):
        assert time.monotonic() < end, run
        time.sleep(0.5)
    tasks = requests.get(f"{page}/taskInstances", headers=headers, timeout=30).json()["task_instances"]
    return {"state": run["state"], "tasks": {task["task_id"]: task["state"] for task in tasks}}
