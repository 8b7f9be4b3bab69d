"""Wait until a server answers."""

import socket
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from include.errors import ServiceError

START_TIMEOUT = 90  # seconds; a busy machine of two cores needs about ten
INTERVAL = 0.05  # seconds between two questions


@dataclass(frozen=True)
class Service:
    """A server that has been started. It may not answer yet."""

    name: str
    address: str
    process: "subprocess.Popen[bytes]"
    log: Path
    answers: Callable[[], bool]

    def wait(self) -> str:
        """Wait until it answers.

        :return: its address.
        :raises ServiceError: it has ended, or is too slow.
        """
        _wait(self.name, self.process, self.log, self.answers)
        return self.address


def wait_for_http(what: str, address: str, log: Path) -> None:
    """Wait until a server answers with success."""
    _wait(what, None, log, lambda: http_ok(address))


def _wait(what: str, process: "subprocess.Popen[bytes] | None", log: Path, ready: Callable[[], bool]) -> None:
    end = time.monotonic() + START_TIMEOUT
    while not ready():
        if process is not None and process.poll() is not None:
            raise ServiceError(f"{what} ended immediately; see {log}.")
        if time.monotonic() > end:
            raise ServiceError(f"{what} did not answer within {START_TIMEOUT} s; see {log}.")
        time.sleep(INTERVAL)


def listens(address: str) -> bool:
    """Whether a process listens at the address."""
    parts = urlsplit(address)
    try:
        with socket.create_connection((str(parts.hostname), int(parts.port or 0)), timeout=2):
            return True
    except OSError:
        return False


def http_ok(address: str) -> bool:
    """Whether a server answers with success."""
    if not listens(address):
        return False  # to import what asks takes longer
    import requests

    try:
        return requests.get(address, timeout=2).ok
    except requests.RequestException:
        return False
