"""A fresh copy of the project with embedded services of its own: what `make run` and `make serve` see."""

import json
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psutil

from include.services.embedded.guard import descendants
from tests.support.copies import clean_environment

PATIENCE = 900  # seconds: a hang is meant, not a slow machine, on which the first run reads everything from a cold disk

WORKSPACE = "dvc-task-"  # of a killed task; the next task of that machine removes it


def sockets_of_stores() -> set[tuple[Path, int]]:
    """The sockets of all stores of this machine, with their times: one that is made anew is another one."""
    found = set()
    for path in Path("/tmp").glob("seaweedfs-*.sock"):
        with suppress(FileNotFoundError):  # its store has just ended
            found.add((path, path.lstat().st_ctime_ns))
    return found


class Home:
    """Where ``python -m include.services.embedded`` is called, as the Makefile does."""

    def __init__(self, project: Path) -> None:
        self.project = project
        self.temporary = project.parent / "tmp"
        self.sockets_before: set[tuple[Path, int]] = set()
        self.sockets: list[Path] = []
        self.env = {**clean_environment(), "PYTHONPATH": str(project), "TMPDIR": str(self.temporary)}

    def start(self, command: str, **env: str) -> "subprocess.Popen[str]":
        self.temporary.mkdir(exist_ok=True)
        self.sockets_before = sockets_of_stores()
        return subprocess.Popen(
            [sys.executable, "-m", "include.services.embedded", command],
            cwd=self.project,
            env={**self.env, **env},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, command: str, **env: str) -> tuple[int, str]:
        """The exit code, and what it printed."""
        process = self.start(command, **env)
        try:
            output, _ = process.communicate(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            process.terminate()  # which ends all that it started
            output, _ = process.communicate()
            raise AssertionError(
                f"`{command}` was not done after {PATIENCE} s; it said:\n{output}\n{self.logs()}"
            ) from None
        return process.returncode, output

    def variables(self) -> dict[str, str]:
        """The environment that `make env-vars` prints, of services that run."""
        code, exports = self.run("env")
        assert code == 0, exports
        show = f"{exports}\nexec {sys.executable} -c 'import os, json; print(json.dumps(dict(os.environ)))'"
        shell = subprocess.run(["sh", "-c", show], env=self.env, capture_output=True, text=True, check=True)
        return json.loads(shell.stdout)

    def logs(self) -> str:
        """The ends of the logs of the services."""
        files = sorted((self.project / ".embedded" / "logs").glob("*.log"))
        return "\n".join(f"--- {file.name}:\n{file.read_text(errors='replace')[-1500:]}" for file in files)

    def left(self) -> list[str]:
        """What the services left outside the state folder: sockets, logs and the like."""
        noted = self.project / ".embedded" / "left"
        sockets = [path for path in self.sockets if path.exists()]
        ours = [path for path in self.temporary.iterdir() if not path.name.startswith(WORKSPACE)]
        files = [file for path in ours for file in (path, *path.rglob("*"))]
        return [str(path) for path in (*files, *sockets, *([noted] if noted.exists() else []))]

    def see_sockets(self, processes: list[psutil.Process]) -> None:
        """Note which sockets the store among these processes has made; others may have left some for its ports."""
        (line,) = [found for process in processes if "mini" in (found := process.cmdline())]
        ports = {one.partition("=")[2] for one in line if ".grpc=" in one}
        made = [path for path, _ in sockets_of_stores() - self.sockets_before]
        self.sockets = [path for path in made if path.stem.rpartition("-")[2] in ports]
        assert len(self.sockets) >= 5

    def processes(self) -> list[str]:
        """Command lines of all processes that work for this copy."""
        found = []
        for process in psutil.process_iter(["cmdline", "cwd"]):
            line = " ".join(process.info["cmdline"] or ())
            if str(self.project) in line or process.info["cwd"] == str(self.project):
                found.append(line)
        return found

    def wait_until_gone(self) -> list[str]:
        """What is still there of `processes` after a while."""
        end = time.monotonic() + 120
        while (left := self.processes()) and time.monotonic() < end:
            time.sleep(0.2)
        return left


def descendants_with(front: "subprocess.Popen[str]", *words: str, detail: Callable[[], str]) -> list[psutil.Process]:
    """All processes below ``front``, as soon as there is one for each of the words."""
    end = time.monotonic() + PATIENCE
    lines: list[str] = []
    while time.monotonic() < end and front.poll() is None:
        below, lines = descendants(front.pid), []
        for process in below:
            try:
                lines.append(" ".join(process.cmdline()))
            except psutil.Error:
                continue
        if all(any(word in line for line in lines) for word in words):
            return below
        time.sleep(0.05)
    raise AssertionError(f"no process for each of {words} below {front.args}: {lines}\n{detail()}")
