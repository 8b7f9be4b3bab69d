"""What the embedded services keep between runs: folders, ports, secrets, and who is running them now."""

import fcntl
import json
import os
import random
import secrets
import shutil
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from include.errors import ConfigError, PipelineError, ServiceError
from include.settings import PROJECT_DIR
from include.stages.files import write_bytes

HOST = "127.0.0.1"
# Below those that the kernel gives to connections (Linux from 32768, others from 49152): one of them would now and then
# have a port between our look at it and the start of the service.
PORTS = range(20000, 32768)
SPACE = 300  # MB, for the databases when new, their log, and what a few runs write


@dataclass(frozen=True)
class State:
    """The state folder. ``EMBEDDED_DIR`` names another one (tests do)."""

    root: Path

    @classmethod
    def default(cls) -> "State":
        """``.embedded`` of the project."""
        return cls(Path(os.environ.get("EMBEDDED_DIR", PROJECT_DIR / ".embedded")).resolve())

    @property
    def airflow_home(self) -> Path:
        """AIRFLOW_HOME."""
        return self.root / "airflow"

    @property
    def dvc_cache(self) -> Path:
        """The DVC cache that the tasks and the checkout share."""
        return self.root / "dvc-cache"

    def log(self, name: str) -> Path:
        """The log file of a part."""
        return self.root / "logs" / f"{name}.log"

    def make(self) -> None:
        """Make the folders."""
        for folder in (self.airflow_home, self.dvc_cache, self.root / "logs"):
            folder.mkdir(parents=True, exist_ok=True)

    def secrets(self) -> dict[str, str]:
        """Random secrets, made once, readable by their owner alone."""
        file = self.root / "secrets.json"
        if not file.exists():
            from cryptography.fernet import Fernet

            made = {
                "store_access_key": secrets.token_hex(10),
                "store_secret_key": secrets.token_urlsafe(30),
                "airflow_fernet_key": Fernet.generate_key().decode(),
                "airflow_jwt_secret": secrets.token_urlsafe(48),
                "airflow_api_secret_key": secrets.token_urlsafe(48),
                "airflow_admin_password": secrets.token_urlsafe(12),
            }
            _write_private(file, made)
        return dict(json.loads(file.read_text()))

    def passwords_file(self) -> Path:
        """The file from which Airflow's SimpleAuthManager takes the admin's password."""
        file = self.airflow_home / "passwords.json"
        if not file.exists():
            _write_private(file, {"admin": self.secrets()["airflow_admin_password"]})
        return file

    def running(self) -> dict[str, Any] | None:
        """What the process that holds the lock says of itself: ``mode``, ``pid``, and ``addresses`` once all is up."""
        with self._open_lock() as lock:
            if _try_lock(lock):
                return None
            try:
                return dict(json.loads(lock.read()))
            except ValueError:  # it is being written
                return {"mode": "starting"}

    @contextmanager
    def run_is_going(self) -> Iterator[None]:
        """Let others see that ``make run`` works, also where another process runs the services."""
        self.make()
        with open(self.root / "run", "w") as mark:
            fcntl.flock(mark, fcntl.LOCK_SH)  # there may be several
            yield

    def a_run_is_going(self) -> bool:
        """Whether ``make run`` works."""
        with open(self.root / "run", "a") as mark:
            return not _try_lock(mark)

    def lock(self, mode: str) -> "StateLock":
        """Take the lock for as long as this process runs the services.

        :raises PipelineError: another process holds it, or the disk is full.
        """
        self.make()
        free = shutil.disk_usage(self.root).free // 2**20
        if free < SPACE:
            raise PipelineError(
                f"only {free} MB are free on the disk of {self.root}, too little for PostgreSQL, the object store and "
                f"MLflow ({SPACE} MB). Free some space, or choose another folder: EMBEDDED_DIR=<folder> make ..."
            )
        lock = self._open_lock()
        # A process that only looks (`running`) holds the lock for a moment too.
        for _ in range(20):
            if _try_lock(lock):
                break
            time.sleep(0.1)
        else:
            lock.close()
            raise PipelineError(
                f"another process is using {self.root} (see `make status`). Wait for it, or end it with `make stop`."
            )
        return StateLock(lock, mode)

    def will_leave(self, *paths: Path) -> None:
        """Note what the services make outside this folder, for `remove_left`: a killed one does not remove it."""
        known = self._left()
        write_bytes(self.root / "left", json.dumps([*known, *map(str, paths)]).encode())

    def remove_left(self) -> None:
        """Remove what services that are gone left outside this folder; nothing while another process runs some."""
        there = self.running()
        if there is not None and there.get("pid") != os.getpid():
            return
        for path in map(Path, self._left()):
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)
        (self.root / "left").unlink(missing_ok=True)

    def _left(self) -> list[str]:
        try:
            return list(json.loads((self.root / "left").read_text()))
        except (OSError, ValueError):
            return []

    def _open_lock(self) -> TextIO:
        self.root.mkdir(parents=True, exist_ok=True)
        return open(os.open(self.root / "lock", os.O_RDWR | os.O_CREAT, 0o600), "r+")


class StateLock:
    """The lock of a state folder, held by this process. It ends with the process: no stale lock is ever left."""

    def __init__(self, lock: TextIO, mode: str) -> None:
        self._lock = lock
        self._mode = mode
        self.publish({})

    def publish(self, addresses: Mapping[str, Any]) -> None:
        """Write down for other processes how to reach the services that are now up."""
        self._lock.seek(0)
        self._lock.truncate()
        json.dump({"mode": self._mode, "pid": os.getpid(), "addresses": dict(addresses)}, self._lock)
        self._lock.flush()

    def close(self) -> None:
        """Release the lock."""
        self._lock.close()


def choose_port(variable: str, default: int | None = None) -> int:
    """The port that the environment variable asks for, else ``default``, else any free one.

    :raises ConfigError: no port number, or a port that is in use.
    """
    wanted = os.environ.get(variable) or default
    if wanted is None:
        return free_ports(1)[0]
    try:
        port = int(wanted)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((HOST, port))
    except (ValueError, OverflowError):
        raise ConfigError(f"{variable}={wanted!r} is not a port number (1 to 65535).") from None
    except OSError as error:
        raise ConfigError(
            f"port {wanted} on {HOST} cannot be used ({error.strerror}). Choose another: {variable}=<port> make ..."
        ) from None
    return port


def free_ports(count: int) -> list[int]:
    """Ports that were free a moment ago, all different.

    :raises ServiceError: there are not so many.
    """
    with ExitStack() as probes:
        found: list[int] = []
        for port in random.sample(PORTS, len(PORTS)):
            with suppress(OSError):
                probes.enter_context(socket.socket()).bind((HOST, port))
                found.append(port)
            if len(found) == count:
                return found
    raise ServiceError(f"of the ports {PORTS[0]} to {PORTS[-1]} on {HOST}, {count} cannot be had: others use them.")


def _try_lock(lock: TextIO) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    except BlockingIOError:
        return False


def _write_private(file: Path, content: Mapping[str, str]) -> None:
    write_bytes(file, json.dumps(content).encode(), mode=0o600)
