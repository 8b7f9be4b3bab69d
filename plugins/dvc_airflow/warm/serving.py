"""The server's life: listen, import, fork."""

import contextlib
import ctypes  # noqa: F401 for the forks
import fcntl
import gc
import os
import shutil
import signal
import socket
import time
from typing import NoReturn

from dvc_airflow.warm.imports import Imports, NotWarmError
from dvc_airflow.warm.monitor import monitor
from dvc_airflow.warm.request import HIGH, IMPORT_SECONDS, read_settings

LOOK_SECONDS = 5.0  # how often an idle server looks whether its folder is still there
BACKLOG = 1024  # commands that may wait while it imports


class Server:
    """Serves one folder.

    :param folder: with its settings and its socket.
    :param lock: descriptor of the lock that it has while it lives.
    """

    def __init__(self, folder: str, lock: int) -> None:
        self._folder, self._lock = folder, lock
        self._socket_path = os.path.join(folder, "socket")
        settings = read_settings(folder)
        self._modules: tuple[list[str], list[str]] = settings["modules"], settings["optional"]
        self._idle_seconds: float = settings["idle_seconds"]

    def run(self) -> None:
        """Serve until nobody needs it."""
        signal.signal(signal.SIGTERM, self._end)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._socket_path)
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as low:
            listener = socket.socket(fileno=fcntl.fcntl(low.fileno(), fcntl.F_DUPFD_CLOEXEC, HIGH))
        listener.bind(self._socket_path)
        listener.listen(BACKLOG)
        inode = os.stat(self._socket_path).st_ino
        signal.signal(signal.SIGALRM, _give_up)
        signal.alarm(IMPORT_SECONDS)
        try:
            imports = Imports(*self._modules, os.path.join(self._folder, "printed"))
        except NotWarmError as error:
            self._note_failure(str(error))
            return
        except BaseException as error:  # noqa: BLE001 else each command starts a server, to no avail
            self._note_failure(f"what was imported cannot be looked at: {type(error).__name__}: {error}")
            return
        finally:
            signal.alarm(0)
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
        gc.collect()
        gc.freeze()  # a fork that looks for garbage would copy all of it
        self._serve(listener, inode, imports)
        if self._is_mine(inode):
            os.unlink(self._socket_path)  # the programs stay: a task may be about to start one
        listener.close()  # tells those that have connected

    def _end(self, _: int, __: object) -> NoReturn:
        """Somebody ends all that runs here, the tasks too: leave nothing."""
        gone = f"{self._folder}.{os.getpid()}"
        with contextlib.suppress(OSError):
            os.rename(self._folder, gone)  # at once, so that nobody finds half of it
            shutil.rmtree(gone)
            os.rmdir(os.path.dirname(self._folder))  # if it was the last one
        os._exit(0)

    def _note_failure(self, why: str) -> None:
        with contextlib.suppress(OSError), open(os.path.join(self._folder, "failed"), "w") as file:
            file.write(why)
        with contextlib.suppress(OSError):
            os.unlink(self._socket_path)

    def _serve(self, listener: socket.socket, inode: int, imports: Imports) -> None:
        """Until nobody needs it, or it has to make room for another, with what is installed now."""
        listener.settimeout(LOOK_SECONDS)
        last = time.monotonic()
        while True:
            if _have_forks():
                last = time.monotonic()
            try:
                connection, _ = listener.accept()
            except TimeoutError:
                if time.monotonic() - last > self._idle_seconds or not self._is_mine(inode):
                    return
                continue
            last = time.monotonic()
            if imports.are_outdated():
                if self._is_mine(inode):
                    os.unlink(self._socket_path)
                listener.close()
                connection.close()  # last: it looks for another server at once
                return
            self._fork(connection, listener, imports)

    def _is_mine(self, inode: int) -> bool:
        """Whether commands that look for a server find this one."""
        try:
            return os.stat(self._socket_path).st_ino == inode
        except FileNotFoundError:
            return False

    def _fork(self, connection: socket.socket, listener: socket.socket, imports: Imports) -> None:
        try:
            child = os.fork()
        except OSError:  # too many processes: the command will see for itself
            connection.close()
            return
        if child == 0:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            os.close(self._lock)
            listener.close()
            monitor(connection, imports, self._folder)
        connection.close()


def _have_forks() -> bool:
    """Take note of the forks that have ended, with the time that they used. :return: whether there are others."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        return False
    return True


def _give_up(_: int, __: object) -> None:
    raise NotWarmError(f"the imports take longer than {IMPORT_SECONDS} s")
