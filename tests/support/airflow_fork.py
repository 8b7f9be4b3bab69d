"""Airflow in a process of its own per call, without importing it anew each time.

Importing Airflow takes ten seconds on two cores. So one server process imports it once and forks for each call; the
fork reads the settings of the deployment at hand, and the project's own code is not yet imported in it. What runs
there is Airflow itself: see `tests.support.in_airflow`.
"""

import ctypes
import logging
import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
import tempfile
import traceback
import warnings
from collections.abc import Callable, Mapping, Sequence
from multiprocessing import forkserver
from pathlib import Path
from typing import Any

from tests.support.describing import describing_here

ROOT = Path(__file__).resolve().parents[2]
TIMEOUT = 600  # seconds: a hang is meant, not a slow machine
_PR_SET_PDEATHSIG = 1  # linux/prctl.h


class AirflowCallError(Exception):
    """The call failed, or its process ended; the message has the end of what it printed."""


def call(work: Callable[..., Any], *arguments: Any, project: Path, env: Mapping[str, str], log: Path) -> Any:
    """Run a function in a fork that has Airflow imported and set up for a copy of the project.

    :param work: a function of `tests.support.in_airflow`.
    :param env: the whole environment of the fork.
    :param log: a file for what it prints.
    :raises AirflowCallError: it failed.
    """
    context = _context(env)
    env = {**env, **{name: os.environ[name] for name in ("CHECK_PLANS",) if name in os.environ}}
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_in_fork, args=(sender, work, arguments, str(project), dict(env), str(log)))
    process.start()
    sender.close()
    try:
        answered = receiver.poll(TIMEOUT)
        failed, answer = receiver.recv() if answered else (True, f"no answer within {TIMEOUT} s")
    except EOFError:
        failed, answer = True, "the process ended"
    finally:
        receiver.close()
        process.join(10)
        if process.is_alive():
            process.kill()
    if failed:
        raise AirflowCallError(f"{answer}; it printed last:\n{log.read_text(errors='replace')[-4000:]}")
    return answer


def module(name: str, *arguments: str, project: Path, env: Mapping[str, str]) -> "subprocess.CompletedProcess[str]":
    """Run ``python -m NAME ARGUMENTS`` in a folder: in a fork that has libraries imported, but none of the project."""
    with tempfile.TemporaryDirectory(prefix="module-") as folder:
        printed = [Path(folder) / "stdout", Path(folder) / "stderr"]
        command = (name, *arguments)
        process = _context(env).Process(target=_as_module, args=(command, str(project), dict(env), *map(str, printed)))
        process.start()
        process.join(TIMEOUT)
        if process.is_alive():
            process.kill()
            raise AirflowCallError(f"{' '.join(command)}: did not end within {TIMEOUT} s")
        texts = [path.read_text() if path.exists() else "" for path in printed]
    return subprocess.CompletedProcess(["python", "-m", *command], process.exitcode, *texts)


def _context(env: Mapping[str, str]) -> Any:
    """The fork server, which the first call starts: from the environment of a deployment, for Airflow wants one."""
    context = multiprocessing.get_context("forkserver")
    before = dict(os.environ)
    os.environ.clear()
    os.environ.update({**env, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore"})
    try:
        context.set_forkserver_preload(["tests.support.preloaded"])
        forkserver.ensure_running()
    finally:
        os.environ.clear()
        os.environ.update(before)
    return context


def _in_fork(
    sender: Any, work: Callable[..., Any], arguments: Sequence[Any], project: str, env: dict[str, str], log: str
) -> None:
    _end_with_parent()
    os.register_at_fork(after_in_child=_end_with_parent)  # also where this process is killed
    multiprocessing.set_start_method(None, force=True)  # Python's own, as Airflow has it, and no server for each fork
    with open(log, "ab", buffering=0) as stream:
        os.dup2(stream.fileno(), 1)
        os.dup2(stream.fileno(), 2)
    os.environ.clear()
    os.environ.update(env)
    os.chdir(project)
    try:
        _set_up(project)
        answer = (False, work(*arguments))
    except BaseException as error:  # noqa: BLE001 - whatever it is, the caller has to know
        traceback.print_exc()
        answer = (True, f"{type(error).__name__}: {error}")
    _stop_listeners()
    sys.stdout.flush()
    sys.stderr.flush()
    sender.send(answer)
    sender.close()
    os._exit(0)  # not what the imported libraries do at exit: they clean up for the server's process


def _as_module(command: Sequence[str], project: str, env: dict[str, str], stdout: str, stderr: str) -> None:
    """Be what ``python -m`` would be."""
    _end_with_parent()
    multiprocessing.set_start_method(None, force=True)
    for number, path in enumerate((os.devnull, stdout, stderr)):
        os.dup2(os.open(path, os.O_RDWR | os.O_CREAT, 0o600), number)
    os.environ.clear()
    os.environ.update(env)
    os.chdir(project)
    search_path = [path for path in env.get("PYTHONPATH", "").split(os.pathsep) if path]
    sys.path[:] = [project, *search_path, *_installed()]
    sys.argv[:] = ["-m", *command[1:]]
    tempfile.tempdir = None
    logging.root.handlers.clear()  # Airflow's
    logging.root.setLevel(logging.WARNING)
    warnings.resetwarnings()
    for category in (DeprecationWarning, PendingDeprecationWarning, ImportWarning, ResourceWarning):
        warnings.simplefilter("ignore", category)
    code: object = 0
    try:
        runpy.run_module(command[0], run_name="__main__", alter_sys=True)
    except SystemExit as end:
        code = end.code
    except BaseException:  # noqa: BLE001 - as Python shows it
        traceback.print_exc()
        code = 1
    if code is not None and not isinstance(code, int):
        print(code, file=sys.stderr)
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code or 0)


def _installed() -> list[str]:
    return [path for path in sys.path if "site-packages" in path or path.startswith(sys.base_prefix)]


def _end_with_parent() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def _stop_listeners() -> None:
    """Have Airflow's listeners finish, if there are any: OpenLineage's has processes, which tell of the run."""
    from airflow.listeners.listener import get_listener_manager
    from airflow.sdk.execution_time.task_runner import TaskRunnerMarker

    if get_listener_manager.cache_info().currsize:  # made where something happened that they are told of
        get_listener_manager().hook.before_stopping(component=TaskRunnerMarker())


def _set_up(project: str) -> None:
    """Have Airflow read its settings again, and Python find the project's code in this copy alone."""
    from airflow import settings

    sys.path[:] = [project, *_installed()]
    tempfile.tempdir = None  # the fork server's, by the deployment that started it
    settings.dispose_orm(do_log=False)
    settings.initialize()
    from dvc_airflow import project as described

    described._describe = describing_here(described._describe)
