"""Warm starts in tests: servers in a folder of the test's own, and what becomes of them."""

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from dvc_airflow.command import PASSED_ON, base_environment
from dvc_airflow.warm import start
from dvc_airflow.warm.start import warm_environment

WARM = ["decimal", "json.tool", "numpy.random", "multiprocessing"]
# Modules that a new process has not imported, whatever it runs.
IS_WARM = "import sys; print('decimal' in sys.modules)"


class WarmStarts:
    """Runs commands in bash, warm and as ever.

    :param temporary: takes the place of the folder for temporary files.
    """

    def __init__(self, temporary: Path, modules: Sequence[str]) -> None:
        self.temporary, self.modules = temporary, modules

    def environment(self, **own: str) -> dict[str, str]:
        return {**warm_environment(self.modules, {**base_environment(), **own}, PASSED_ON)}

    def run(self, command: str, folder: Path, **own: str) -> "subprocess.CompletedProcess[bytes]":
        return run(command, folder, self.environment(**own))

    def start(self, command: str, folder: Path, **own: str) -> "subprocess.Popen[bytes]":
        return subprocess.Popen(
            ["bash", "-c", command], cwd=folder, env=self.environment(**own), start_new_session=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    def folders(self) -> list[Path]:
        return [*self.temporary.glob(f"dvc_airflow-{os.getuid()}/*/")]

    def servers(self) -> list[psutil.Process]:
        """Not their forks, which have the same command line."""
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                line = process.cmdline()
                if len(line) > 2 and line[1].endswith("warm/server.py") and line[2].startswith(str(self.temporary)):
                    found.append(process)
        pids = {process.pid for process in found}
        return [process for process in found if process.ppid() not in pids]

    def why_cold(self) -> str:
        return "".join(path.read_text() for path in self.temporary.glob("*/*/cold"))

    def end(self) -> None:
        for process in self.servers():
            with suppress(psutil.Error):
                process.terminate()
                process.wait(60)


def run(command: str, folder: Path, environment: Mapping[str, str]) -> "subprocess.CompletedProcess[bytes]":
    return subprocess.run(
        ["bash", "-c", command], cwd=folder, env=dict(environment), stdin=subprocess.DEVNULL, capture_output=True
    )


def new_warm_starts(monkeypatch, modules: Sequence[str], *, dvc: bool = False) -> WarmStarts:
    # Not below pytest's folder: the path of a socket has to be short.
    temporary = Path(tempfile.mkdtemp(prefix="warm-", dir="/tmp"))
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    if not dvc:
        monkeypatch.setattr(start, "DVC_MODULES", [])  # they take a second
    return WarmStarts(temporary, modules)


def served(patch: pytest.MonkeyPatch) -> Iterator[WarmStarts]:
    """For a fixture: warm starts of `WARM`, of which nothing is left afterwards."""
    starts = new_warm_starts(patch, WARM)
    yield starts
    starts.end()
    shutil.rmtree(starts.temporary)


def until(condition: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come about"
        time.sleep(0.05)
