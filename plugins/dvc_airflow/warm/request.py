"""What a launcher tells a server of its command. Imported by the launcher, so: nothing that is slow to import."""

import _socket
import marshal
import os
import resource
from array import array
from contextlib import suppress
from typing import Any, NamedTuple

# What the two say to each other, one byte each.
HELLO = b"H"  # the server: it has imported all
COLD = b"C"  # the server: start it yourself
READY = b"W"  # the server: it can be a fork of mine
GO = b"G"  # the launcher: it shall be
HIGH = 500  # the server's own files have numbers from here on, out of the way of those of commands
MAX_DESCRIPTORS = 200  # the kernel passes 253 with one message
IMPORT_SECONDS = 60  # until a server has imported all
FAILED_SECONDS = 300.0  # for so long a server that could not start is not tried again

_LENGTH = 8
_LIMITS = 16  # kinds of limits that Linux has
_LONGEST_NOTES = 100_000  # characters


class Request(NamedTuple):
    """A command as its launcher found it. Texts are bytes, as the system has them.

    :param interpreter: the path of the Python that was called.
    :param arguments: of the interpreter: a script, or ``-m`` or ``-c`` with what belongs to it; then those of the
        program.
    :param environment: all of it.
    :param descriptors: the numbers of the open files that it inherits.
    :param umask: of the process.
    :param nice: its priority.
    :param processors: on which it may run.
    :param limits: per resource, the soft and the hard one.
    :param ignored: numbers of the signals that it ignores.
    :param blocked: numbers of the signals that are held back.
    :param machine: see `machine`.
    """

    interpreter: bytes
    arguments: list[bytes]
    environment: dict[bytes, bytes]
    descriptors: list[int]
    umask: int
    nice: int
    processors: list[int]
    limits: list[tuple[int, int]]
    ignored: list[int]
    blocked: list[int]
    machine: list[str]

    def program(self) -> list[bytes]:
        """The arguments without the one option of the interpreter that may come first."""
        return self.arguments[1:] if self.arguments[0] == b"-u" else self.arguments


def send(connection: _socket.socket, request: Request, folder: int) -> None:
    """Send a request with its open files.

    :param folder: descriptor of the folder in which the command runs.
    """
    text = marshal.dumps(tuple(request))
    files = array("i", [*request.descriptors, folder])
    connection.sendmsg([len(text).to_bytes(_LENGTH, "big")], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, files)])
    connection.sendall(text)


def receive(connection: _socket.socket) -> tuple[Request, list[int]]:
    """:return: a request, and its open files under other numbers; the last one is its folder.

    :raises OSError: the launcher has gone.
    """
    files = array("i")
    space = _socket.CMSG_SPACE((MAX_DESCRIPTORS + 1) * files.itemsize)
    head, messages, _, _ = connection.recvmsg(_LENGTH, space, _socket.MSG_CMSG_CLOEXEC)
    for _, kind, data in messages:
        if kind == _socket.SCM_RIGHTS:
            files.frombytes(data[: len(data) - len(data) % files.itemsize])
    head += _exactly(connection, _LENGTH - len(head))
    text = _exactly(connection, int.from_bytes(head, "big"))
    return Request(*marshal.loads(text)), list(files)


def _exactly(connection: _socket.socket, count: int) -> bytes:
    parts = []
    while count:
        part = connection.recv(min(count, 1 << 20))
        if not part:
            raise ConnectionResetError("the launcher has gone")
        parts.append(part)
        count -= len(part)
    return b"".join(parts)


def machine() -> list[str]:
    """What two processes have to share for one to be a fork of the other: namespaces, cgroup, root, groups of the user.

    Not asked of the task's process: Airflow hides what the system tells of that, unless it is root's.
    """
    spaces = [os.readlink(f"/proc/self/ns/{name}") for name in sorted(os.listdir("/proc/self/ns"))]
    with open("/proc/self/cgroup") as file:
        group = file.read()
    root = os.stat("/")
    return [*spaces, group, f"{root.st_dev} {root.st_ino}", repr(sorted(os.getgroups()))]


def bounds() -> tuple[int, list[int], list[tuple[int, int]]]:
    """What a process passes on to all that it starts, which may narrow it but, unless they are root, never widen it.

    :return: its priority, the processors on which it may run, and per resource the soft and the hard limit.
    """
    limits = [resource.getrlimit(number) for number in range(_LIMITS)]
    return os.getpriority(os.PRIO_PROCESS, 0), sorted(os.sched_getaffinity(0)), limits


def read_settings(folder: str) -> dict[str, Any]:
    """What the task has written for the server of a folder, see `dvc_airflow.warm.start`."""
    with open(os.path.join(folder, "settings"), "rb") as file:
        return dict(marshal.load(file))


def note_cold(folder: str, request: Request, why: object) -> None:
    """Add to the file that says why commands were not warm.

    Names and paths alone, no values: what a command gets is not for a file.
    """
    given = request.program()
    program = os.fsdecode(b" ".join(given[:2] if given[0] == b"-m" else given[:1]))
    with suppress(OSError), open(os.path.join(folder, "cold"), "a") as file:
        if file.tell() < _LONGEST_NOTES:
            file.write(f"{program}: {why}\n")


def inherited() -> list[int]:
    """The numbers of this process's open files that a program which it starts would inherit."""
    found = []
    for name in os.listdir("/proc/self/fd"):
        try:
            if os.get_inheritable(int(name)):
                found.append(int(name))
        except OSError:  # that of the listing itself
            continue
    return sorted(found)
