"""PostgreSQL, the S3 store and MLflow for all tests of a run: started by the first test that needs them.

    python -m tests.support.shared_services FOLDER OWNER

is the process that keeps them up until the process OWNER has ended, however it ended: so a test run that is killed
leaves nothing behind.
"""

import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from tests.support.copies import ROOT, clean_environment, copy_of_project

# The folder of the services; set by the process that runs pytest, for its workers too.
FOLDER_VARIABLE = "TEST_PARTS_DIR"
OWNER_VARIABLE = "TEST_OWNER"  # the process id of it
NOT_STARTED = "PostgreSQL, the object store and MLflow, which the tests need, did not start"
START_SECONDS = 240  # PostgreSQL, the store, MLflow, and two databases migrated, on a busy machine

_keepers: dict[Path, "subprocess.Popen[bytes]"] = {}  # for Python complains of one that is running and forgotten


class ServicesError(Exception):
    """The services do not run; the message says why."""


def shared_services() -> dict[str, Any]:
    """Start the services if no other worker has; wait until they answer.

    :return: ``project``: the copy they were started from; ``env``: the environment in which it reaches them.
    :raises ServicesError: they did not start. Every later call says the same at once.
    """
    folder = Path(os.environ[FOLDER_VARIABLE])
    with open(folder / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "services.json").exists():
            _start(folder)
        found = json.loads((folder / "services.json").read_text())
    if "error" in found:
        raise ServicesError(f"{NOT_STARTED}: {found['error']}")
    return found


def stop_shared_services(folder: Path) -> None:
    """End the services, if a test started them, and wait until they are gone."""
    file = folder / "keeper"
    if not file.exists():
        return
    try:
        keeper = psutil.Process(int(file.read_text()))
        keeper.send_signal(signal.SIGTERM)
        keeper.wait(60)
    except psutil.NoSuchProcess:
        return


def _start(folder: Path) -> None:
    owner = os.environ[OWNER_VARIABLE]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "plugins")])}
    with open(folder / "keeper.log", "wb") as log:
        # A session of its own: Ctrl-C ends the tests first, which may still use the services.
        keeper = _keepers[folder] = subprocess.Popen(
            [sys.executable, "-m", "tests.support.shared_services", str(folder), owner],
            cwd=ROOT, env=env, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip
    (folder / "keeper").write_text(str(keeper.pid))
    end = time.monotonic() + START_SECONDS
    while not (folder / "services.json").exists():
        if keeper.poll() is not None or time.monotonic() > end:
            keeper.terminate()
            said = (folder / "keeper.log").read_text(errors="replace").strip()[-2000:]
            _publish(folder, {"error": said or f"no answer within {START_SECONDS} s"})
        time.sleep(0.1)


def _publish(folder: Path, content: dict[str, Any]) -> None:
    part = folder / f"services.{os.getpid()}"
    part.write_text(json.dumps(content))
    part.replace(folder / "services.json")


@contextmanager
def running_services(project: Path, state: Path) -> Iterator[dict[str, Any]]:
    """Run the services from a copy of the project until the block ends.

    :param state: an empty folder for what they keep.
    :return: as `shared_services`.
    """
    start = {**clean_environment(), "EMBEDDED_DIR": str(state), "PYTHONPATH": str(project)}
    embedded = [sys.executable, "-m", "include.services.embedded"]
    try:
        done = subprocess.run([*embedded, "env"], cwd=project, env=start, capture_output=True, text=True)
        if done.returncode:
            raise ServicesError(done.stderr.strip())
        show = f"{done.stdout}\nexec {sys.executable} -c 'import os, json; print(json.dumps(dict(os.environ)))'"
        shell = subprocess.run(["sh", "-c", show], env=start, capture_output=True, text=True, check=True)
        yield {"project": str(project), "env": json.loads(shell.stdout)}
    finally:
        subprocess.run([*embedded, "stop"], cwd=project, env=start, check=True, capture_output=True)


def main() -> None:
    """Keep the services up for a test run."""
    folder, owner = Path(sys.argv[1]), psutil.Process(int(sys.argv[2]))
    stopped: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda number, frame: stopped.append(number))
    project = copy_of_project(folder / "project")
    try:
        with running_services(project, folder / "state") as services:
            _publish(folder, services)
            while owner.is_running() and owner.status() != psutil.STATUS_ZOMBIE and not stopped:
                time.sleep(0.2)
    except ServicesError as error:
        sys.exit(str(error))
    if not stopped:  # nobody is left who would remove it
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
