"""The program that takes the place of ``python`` and ``dvc``: it asks the server for a fork, and ends as the fork ends.

Starts with each command, so it imports only what is built in, or nearly.
"""

import _signal  # type: ignore[import-not-found] # `signal` itself takes its time
import _socket
import fcntl
import os
import resource
import sys
import time
from contextlib import suppress
from typing import NoReturn

from dvc_airflow.warm.request import (
    COLD,
    FAILED_SECONDS,
    GO,
    HELLO,
    HIGH,
    IMPORT_SECONDS,
    MAX_DESCRIPTORS,
    READY,
    Request,
    bounds,
    inherited,
    machine,
    note_cold,
    read_settings,
    send,
)

START_SECONDS = 5.0  # until a server that is being started listens
PARENT_SECONDS = 0.5  # how often to look whether the shell that called us is there

# Not those by which the kernel tells a process of its own faults, nor those of a terminal's job control.
PASSED_ON = (
    _signal.SIGTERM,
    _signal.SIGINT,
    _signal.SIGHUP,
    _signal.SIGQUIT,
    _signal.SIGUSR1,
    _signal.SIGUSR2,
    _signal.SIGALRM,
    _signal.SIGCONT,
    _signal.SIGWINCH,
)
TO_END = frozenset({_signal.SIGTERM, _signal.SIGINT, _signal.SIGHUP})


def main(folder: str, program: list[str], *, in_function: bool = False) -> NoReturn:
    """Run a command as a fork of the server of this folder, or as it always did.

    :param program: the interpreter, and the script if the program is one.
    :param in_function: a function of the shell called us: a signal to the shell is meant for us.
    """
    command = [*program, *sys.argv[1:]]
    parent = os.getppid() if in_function else 0
    connection = None
    passed_on: list[int] = []
    if can_be_warm(command[1:]):
        try:
            connection = _ask(folder, command)
            if connection is not None:
                passed_on = _go(connection)
        except OSError:  # whatever it is: the command has not begun, and does not need the server
            connection = None
    if connection is None:
        os.execv(program[-1], [program[-1], *sys.argv[1:]])  # a script has its interpreter in its first line
    _end_like(_wait(connection, parent, passed_on))


def can_be_warm(arguments: list[str]) -> bool:
    """Whether a fork can do what the interpreter would with these arguments: ``x.py``, ``-m x``, ``-c x``."""
    if arguments[:1] == ["-u"] and os.environ.get("PYTHONUNBUFFERED"):
        arguments = arguments[1:]
    if not arguments or any(os.isatty(stream) for stream in range(3)):
        return False
    if arguments[0] in ("-m", "-c"):
        return len(arguments) > 1
    return not arguments[0].startswith("-") and arguments[0] != ""


def _ask(folder: str, command: list[str]) -> _socket.socket | None:
    """:return: a connection to the process that is about to become the command; None: start it as always."""
    request = _request(command)
    if len(request.descriptors) > MAX_DESCRIPTORS or request.descriptors[:3] != [0, 1, 2]:
        return None
    for _ in range(2):  # a server that finds the environment changed ends, and the next one is up to date
        connection = _connect(folder, request)
        if connection is None:
            return None
        here = os.open(".", os.O_RDONLY | os.O_DIRECTORY)
        try:
            # Not before it says so: open files that are on their way to a process that hangs stay open.
            answer = connection.recv(1)
            if answer == HELLO:
                send(connection, request, here)
                answer = connection.recv(1)
        except (BrokenPipeError, ConnectionResetError):
            answer = b""
        except TimeoutError:
            _note_silence(folder)
            return None
        finally:
            os.close(here)
        if answer == READY:
            connection.settimeout(None)
            return connection
        if answer == COLD:
            return None
    return None


def _note_silence(folder: str) -> None:
    """So that not each command waits as long."""
    with suppress(OSError), open(os.path.join(folder, "failed"), "w") as file:
        file.write(f"the server did not answer within {IMPORT_SECONDS:.0f} s")


def _request(command: list[str]) -> Request:
    umask = os.umask(0)
    os.umask(umask)
    signals = range(1, _signal.NSIG)
    nice, processors, limits = bounds()
    return Request(
        interpreter=os.fsencode(command[0]),
        arguments=[os.fsencode(one) for one in command[1:]],
        environment=dict(os.environb),
        descriptors=inherited(),
        umask=umask,
        nice=nice,
        processors=processors,
        limits=limits,
        ignored=[number for number in signals if _signal.getsignal(number) == _signal.SIG_IGN],
        blocked=sorted(_signal.pthread_sigmask(_signal.SIG_BLOCK, [])),
        machine=machine(),
    )


def _connect(folder: str, request: Request) -> _socket.socket | None:
    """A connection to the server of the folder, which is started if there is none."""
    started = False
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end:
        connection = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
        connection.settimeout(IMPORT_SECONDS)
        try:
            connection.connect(os.path.join(folder, "socket"))
        except (FileNotFoundError, ConnectionRefusedError):
            connection.close()
        else:
            return connection
        if _has_failed(folder):
            return None
        if lock := _lock(folder):
            if started:  # it has ended before it could listen
                os.close(lock)
                return None
            # Below `nice`, `ulimit` or `taskset`: the server's forks for other commands could not shed these bounds.
            if bounds() != read_settings(folder)["bounds"]:
                os.close(lock)
                note_cold(folder, request, "no server runs, and none gets this command's priority and limits")
                return None
            _start(folder, lock)
            started = True
        time.sleep(0.02)
    return None


def _has_failed(folder: str) -> bool:
    try:
        return time.time() - os.stat(os.path.join(folder, "failed")).st_mtime < FAILED_SECONDS
    except FileNotFoundError:
        return False


def _lock(folder: str) -> int | None:
    """The lock that a server has as long as it lives; None: one has it."""
    lock = os.open(os.path.join(folder, "lock"), os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        return None
    return lock


def _start(folder: str, lock: int) -> None:
    """Start the server, as a process of its own that no task owns."""
    child = os.fork()
    if child == 0:
        _become_server(folder, lock)
    os.close(lock)
    os.waitpid(child, 0)


def _become_server(folder: str, lock: int) -> NoReturn:
    try:
        os.setsid()
        if os.fork():  # nobody waits for it, so it belongs to init
            os._exit(0)
        os.chdir("/")
        settings = read_settings(folder)
        for number in range(1, _signal.NSIG):
            if number not in (_signal.SIGKILL, _signal.SIGSTOP) and _signal.getsignal(number) == _signal.SIG_IGN:
                _signal.signal(number, _signal.SIG_DFL)
        _signal.pthread_sigmask(_signal.SIG_SETMASK, [])
        nothing = os.open(os.devnull, os.O_RDWR)
        printed = os.open(os.path.join(folder, "printed"), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        lock = fcntl.fcntl(lock, fcntl.F_DUPFD, HIGH)
        os.dup2(nothing, 0)
        os.dup2(printed, 1)
        os.dup2(printed, 2)
        for number in inherited():
            if number > 2 and number != lock:
                os.close(number)
        server = os.path.join(os.path.dirname(os.path.abspath(__file__)), "server.py")
        os.execve(settings["python"], [settings["python"], server, folder, str(lock)], settings["environment"])
    finally:
        os._exit(1)


def _go(connection: _socket.socket) -> list[int]:
    """Let the command begin; from now on signals are passed on to it.

    :return: those that have been, added to as they come.
    :raises OSError: it cannot begin any more.
    """
    passed_on: list[int] = []

    def pass_on(number: int, _: object) -> None:
        passed_on.append(number)
        with suppress(OSError):  # it has just ended
            connection.send(bytes([number]))

    blocked = _signal.pthread_sigmask(_signal.SIG_BLOCK, PASSED_ON)
    try:
        connection.sendall(GO)
        for number in PASSED_ON:
            if _signal.getsignal(number) != _signal.SIG_IGN:
                _signal.signal(number, pass_on)
    finally:
        _signal.pthread_sigmask(_signal.SIG_SETMASK, blocked)
    return passed_on


def _let_go_of_files() -> None:
    """The command has them: who reads what it writes shall see when it closes them. We may still have to say a word."""
    nothing = os.open(os.devnull, os.O_RDWR)
    for file in inherited():
        if file != 2:
            os.dup2(nothing, file)


def _wait(connection: _socket.socket, parent: int, passed_on: list[int]) -> int:
    """Wait until the command ends.

    :param parent: if this process is no longer our parent, the command is to end. 0: whatever it is.
    :param passed_on: signals that the command has already got: a second one would break off its tidying up.
    :return: how it ended, as ``os.wait`` says it.
    """
    _let_go_of_files()
    if parent:
        connection.settimeout(PARENT_SECONDS)
    status = b""
    while len(status) < 4:
        try:
            part = connection.recv(4 - len(status))
        except TimeoutError:
            if os.getppid() != parent:
                if not TO_END.intersection(passed_on):
                    with suppress(OSError):
                        connection.send(bytes([_signal.SIGTERM]))
                parent = os.getppid()
            continue
        except ConnectionResetError:
            part = b""
        if not part:
            os.write(2, b"The process that ran this command was killed.\n")
            return int(_signal.SIGKILL)
        status += part
    return int.from_bytes(status, "big")


def _end_like(status: int) -> NoReturn:
    """End as the command ended."""
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        resource.setrlimit(
            resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1])
        )  # it has left its own
        if number not in (_signal.SIGKILL, _signal.SIGSTOP):
            _signal.signal(number, _signal.SIG_DFL)
        os.kill(os.getpid(), number)
    os._exit(os.waitstatus_to_exitcode(status))
