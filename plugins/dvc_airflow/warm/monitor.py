"""The fork that watches over a command: it decides whether that can be warm, passes on signals, and tells its end."""

import os
import resource
import select
import signal
import socket
from contextlib import suppress
from typing import NoReturn

from dvc_airflow.warm.command import Command, become, search_path
from dvc_airflow.warm.imports import Imports, variables
from dvc_airflow.warm.request import COLD, GO, HELLO, HIGH, MAX_DESCRIPTORS, READY, Request, receive

LONGEST_LOG = 100_000  # characters


class ColdError(Exception):
    """Why a command has to start as it always did."""


def monitor(connection: socket.socket, imports: Imports, log: str) -> NoReturn:
    """Serve one launcher.

    :param log: path of the file that says why commands were not warm.
    """
    try:
        os.setsid()
        connection.sendall(HELLO)
        request, files = receive(connection)
        try:
            command = _prepare(request, files, imports)
        except (ColdError, OSError, ValueError) as error:
            _note(log, request, error)
            connection.sendall(COLD)
            os._exit(0)
        connection.sendall(READY)
        if connection.recv(1) != GO:
            os._exit(0)
        process = os.fork()
        if process == 0:
            become(command, os.getppid(), connection)
        _watch(connection, process, files)
    except OSError:  # the launcher has gone
        pass
    finally:
        os._exit(0)


def _note(log: str, request: Request, why: Exception) -> None:
    """Names and paths alone, no values: what a command gets is not for a file."""
    program = os.fsdecode(b" ".join(request.arguments[:2] if request.arguments[0] == b"-m" else request.arguments[:1]))
    with suppress(OSError), open(log, "a") as file:
        if file.tell() < LONGEST_LOG:
            file.write(f"{program}: {why}\n")


def _prepare(request: Request, files: list[int], imports: Imports) -> Command:
    """Take over what the command is to inherit, and find what it runs.

    :raises ColdError, OSError, ValueError: at any doubt.
    """
    environment = dict(variables(request.environment))
    if name := imports.differing(environment):
        raise ColdError(f"{name} is not as it was when the server started")
    if taken := imports.descriptors.intersection(request.descriptors[3:]):
        raise ColdError(f"the server uses the descriptors {sorted(taken)}")
    if len(files) != len(request.descriptors) + 1:
        raise ColdError("not all open files came along")
    if request.limits[resource.RLIMIT_NOFILE][0] < HIGH + 2 * MAX_DESCRIPTORS:
        raise ColdError("it may have few open files")
    os.fchdir(files[-1])
    command = Command.of(request, environment, imports.set_variables(), files)
    for folder in (command.first_path, *search_path(environment)):
        if hidden := _hidden(folder, imports.top_level):
            raise ColdError(f"{hidden} in {folder or 'the folder'} comes before what was imported")
    os.umask(request.umask)
    os.setpriority(os.PRIO_PROCESS, 0, request.nice)
    os.sched_setaffinity(0, request.processors)
    for number, limits in enumerate(request.limits):
        if resource.getrlimit(number) != tuple(limits):
            resource.setrlimit(number, (limits[0], limits[1]))
    return command


def _hidden(folder: str, top_level: set[str]) -> str | None:
    """:return: a module in a folder that a new process would import instead of one that is in memory."""
    try:
        entries = list(os.scandir(folder or "."))
    except OSError:
        return None
    for entry in entries:
        name, dot, _ = entry.name.partition(".")
        if name not in top_level:
            continue
        if (dot and entry.name.endswith((".py", ".pyc", ".so"))) or (not dot and entry.is_dir()):
            return entry.name
    return None


def _watch(connection: socket.socket, process: int, files: list[int]) -> None:
    """Until the process ends: pass on the signals that come; end it if the launcher goes."""
    for file in files:
        os.close(file)
    for stream in range(3):
        os.close(stream)
    _lead_a_group(process)
    ended = os.pidfd_open(process)
    poll = select.poll()
    poll.register(ended, select.POLLIN)
    poll.register(connection, select.POLLIN)
    while True:
        ready = {number for number, _ in poll.poll()}
        if ended in ready:
            _, status = os.waitpid(process, 0)
            connection.sendall(status.to_bytes(4, "big"))
            return
        signals = _received(connection)
        for number in signals or [signal.SIGKILL]:
            _signal_group(process, number)
        if not signals:
            poll.unregister(connection)


def _received(connection: socket.socket) -> bytes:
    try:
        return connection.recv(64)
    except OSError:
        return b""


def _lead_a_group(process: int) -> None:
    """The process does the same: whoever comes first."""
    with suppress(OSError):  # it is at work already
        os.setpgid(process, process)


def _signal_group(leader: int, number: int) -> None:
    """As one to the group that the launcher is in would reach the command and what it has started."""
    with suppress(ProcessLookupError):
        os.killpg(leader, number)
