"""The fork that watches over a command: it decides whether that can be warm, passes on signals, and tells its end."""

import os
import resource
import select
import signal
import socket
import time
from contextlib import suppress
from typing import NoReturn

from dvc_airflow.warm.command import Command, become
from dvc_airflow.warm.imports import Imports, search_path, variables
from dvc_airflow.warm.request import COLD, GO, HELLO, HIGH, MAX_DESCRIPTORS, READY, Request, note_cold, receive

TO_END = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGKILL)
GRACE_SECONDS = 3.0  # for what is left of a command that was to end
KILL_SECONDS = 1.0
LOOK_SECONDS = 0.05  # how often to look whether it has ended
LOCAL_SETTINGS = {"matplotlibrc": "matplotlib"}  # read in the folder in which a module is imported


class ColdError(Exception):
    """Why a command has to start as it always did."""


def monitor(connection: socket.socket, imports: Imports, folder: str) -> NoReturn:
    """Serve one launcher.

    :param folder: the server's.
    """
    try:
        os.setsid()
        connection.sendall(HELLO)
        request, files = receive(connection)
        try:
            command = _prepare(request, files, imports)
        except (ColdError, OSError, ValueError) as error:
            note_cold(folder, request, error)
            connection.sendall(COLD)
            os._exit(0)
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())  # of the group that the command is in too
        process, gate = _fork(command, connection)
        connection.sendall(READY)
        if connection.recv(1) != GO:
            os._exit(0)  # and the command finds the gate closed
        os.write(gate, GO)
        os.close(gate)
        _watch(connection, process, files)
    except OSError:  # the launcher has gone
        pass
    finally:
        os._exit(0)


def _fork(command: Command, connection: socket.socket) -> tuple[int, int]:
    """Fork what becomes the command once it is told to.

    :return: its process id, and the descriptor by which to tell it.
    :raises OSError: there are too many processes.
    """
    monitor = os.getpid()
    inside, gate = os.pipe()
    process = os.fork()
    if process == 0:
        os.close(gate)
        if os.read(inside, 1) != GO:
            os._exit(0)
        os.close(inside)
        become(command, monitor, connection)
    os.close(inside)
    return process, gate


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
    if request.limits[resource.RLIMIT_NOFILE][0] < max(HIGH, *request.descriptors) + 2 * MAX_DESCRIPTORS:
        raise ColdError("it may have few open files")
    if request.machine != imports.machine:
        raise ColdError("it is in another container or group of processes")
    if sorted(os.sched_getaffinity(0)) != request.processors:
        raise ColdError("it has other processors than the server")  # imports make pools of threads for them
    os.fchdir(files[-1])
    command = Command.of(request, environment, imports.set_variables(), files)
    _refuse_hidden(command, environment, imports)
    os.umask(request.umask)
    os.setpriority(os.PRIO_PROCESS, 0, request.nice)
    for number, limits in enumerate(request.limits):
        if resource.getrlimit(number) != tuple(limits):
            resource.setrlimit(number, (limits[0], limits[1]))
    return command


def _refuse_hidden(command: Command, environment: dict[str, str], imports: Imports) -> None:
    """:raises ColdError: a new process would find something else than what is in memory."""
    for folder in (command.first_path, *search_path(environment)):
        if hidden := _hidden(folder, imports.top_level):
            raise ColdError(f"{hidden} comes before what was imported")
    for file, module in LOCAL_SETTINGS.items():
        if module in imports.top_level and os.path.exists(file):
            raise ColdError(f"{module} reads {file} of the folder when it is imported")


def _hidden(folder: str, top_level: set[str]) -> str | None:
    """:return: a module in a folder that a new process would import instead of one that is in memory, with the folder.

    An archive is not looked into.
    """
    try:
        entries = list(os.scandir(folder or "."))
    except NotADirectoryError:
        return f"the archive {folder}"
    except OSError:
        return None
    for entry in entries:
        name, dot, _ = entry.name.partition(".")
        if name not in top_level:
            continue
        if (dot and entry.name.endswith((".py", ".pyc", ".so"))) or (not dot and entry.is_dir()):
            return f"{entry.name} in {folder or 'the folder'}"
    return None


def _watch(connection: socket.socket, process: int, files: list[int]) -> None:
    """Until the process ends: pass on the signals that come; end it if the launcher goes.

    Signals go to the group of this process, as one to the group of the launcher would reach the command and what it has
    started.
    """
    for file in files:
        os.close(file)
    for stream in range(3):
        os.close(stream)
    is_to_end = False
    ended = os.pidfd_open(process)
    poll = select.poll()
    poll.register(ended, select.POLLIN)
    poll.register(connection, select.POLLIN)
    while ended not in {number for number, _ in poll.poll()}:
        signals = _received(connection)
        for number in signals or [signal.SIGKILL]:
            is_to_end = is_to_end or number in TO_END
            if os.getpgid(process) != os.getpgid(0):
                os.kill(process, number)  # it has a group of its own now
            os.killpg(0, number)
    _, status = os.waitpid(process, 0)
    if is_to_end:
        _end_others(connection)
    with suppress(OSError):  # the launcher has gone
        connection.sendall(status.to_bytes(4, "big"))


def _end_others(connection: socket.socket) -> None:
    """Let what a command that was to end has started end too: its folder goes when the launcher has ended.

    What is left after `GRACE_SECONDS` is killed, and when the launcher goes, with this process; it is waited for no
    longer than `KILL_SECONDS`: a disk may hold it.
    """
    end = time.monotonic() + GRACE_SECONDS
    while (others := _others_of_the_group()) and time.monotonic() < end + KILL_SECONDS:
        if time.monotonic() > end:
            for other in others:
                with suppress(OSError):  # it has just ended, or is another user's
                    os.kill(other, signal.SIGKILL)
        if select.select([connection], [], [], LOOK_SECONDS)[0]:
            for number in _received(connection) or [signal.SIGKILL]:
                os.killpg(0, number)


def _others_of_the_group() -> list[int]:
    """The processes of this process's group that run, without itself."""
    own = os.getpid()
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit() and int(name) != own:
            with suppress(OSError), open(f"/proc/{name}/stat", "rb") as file:  # OSError: it has ended
                state, _, group = file.read().rpartition(b")")[2].split()[:3]
                if int(group) == own and state not in (b"Z", b"X"):
                    found.append(int(name))
    return found


def _received(connection: socket.socket) -> bytes:
    try:
        return connection.recv(64)
    except OSError:
        return b""
