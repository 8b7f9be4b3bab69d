"""Clean environments: a Python, an Airflow, and the wheel."""

import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.support.built import PLUGINS, UV
from tests.support.copies import ROOT, clean_environment

PROVIDER = "airflow-provider-dvc"
TIMEOUT = 900  # seconds: a hang is meant, not a slow network


class CommandError(Exception):
    """A command failed; the message has what it printed last."""


@dataclass(frozen=True)
class Airflow:
    """A version of Airflow, and how the packages that go with it are found.

    :param until: no package that is newer than this date is taken, for an old Airflow may not work with it.
    :param lowest: of each package that the wheel declares, take the oldest version that it allows.
    """

    version: str
    until: str | None = None
    lowest: bool = False


def newest_airflow() -> Airflow:
    """The one that the project itself is locked to."""
    (version,) = re.findall(r"^apache-airflow==(\S+)$", (ROOT / "requirements.txt").read_text(), re.MULTILINE)
    return Airflow(version)


#: The oldest that the wheel declares; on that day, each package that it declares had a version that it allows.
OLDEST = Airflow("3.2.0", until="2026-07-01", lowest=True)


class CleanEnvironment:
    """A virtual environment in a folder of its own, with an AIRFLOW_HOME beside it and nothing of the caller's.

    :param folder: an empty one.
    :param python: a version such as ``3.12``, or the path of an interpreter.
    """

    def __init__(self, folder: Path, python: str, airflow: Airflow) -> None:
        self.folder, self._airflow = folder, airflow
        self._venv = folder / "venv"
        self._call(UV, "venv", "--quiet", "--no-python-downloads", "--python", python, self._venv)

    def install(self, wheel: Path) -> None:
        """Install the wheel, with an Airflow of the version asked for."""
        airflow = f"apache-airflow=={self._airflow.version}"
        if self._airflow.lowest:
            lowest = ["--resolution", "lowest-direct", "--extra", "s3", "--extra", "kubernetes"]
            self._pip(airflow, *lowest, "-r", PLUGINS / "pyproject.toml")
            self._pip("--no-deps", wheel)
        else:
            self._pip(airflow, wheel)

    def add(self, *requirements: str) -> None:
        """Install more: names of packages."""
        self._pip(*requirements)

    def run(self, program: str, *arguments: str | Path, cwd: Path | None = None) -> str:
        """Run a program of the environment: what it prints.

        :raises CommandError: it failed.
        """
        return self._call(self._venv / "bin" / program, *arguments, cwd=cwd)

    def _pip(self, *arguments: str | Path) -> None:
        until = ["--exclude-newer", self._airflow.until] if self._airflow.until else []
        # So that a release of tomorrow, of any package, changes no result.
        locked = [] if self._airflow.lowest else ["--constraint", ROOT / "requirements.txt"]
        self._call(UV, "pip", "install", "--quiet", "--python", self._venv, *until, *locked, *arguments)

    def _call(self, *command: str | Path, cwd: Path | None = None) -> str:
        done = subprocess.run(
            command,
            cwd=cwd or self.folder,
            env=self._variables(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=TIMEOUT,
        )
        if done.returncode:
            shown = " ".join(str(part) for part in command)
            raise CommandError(f"{shown}: exit code {done.returncode}; it printed last:\n{done.stdout[-4000:]}")
        return done.stdout

    def _variables(self) -> dict[str, str]:
        """Those of a new user's shell."""
        inherited = clean_environment()
        programs = [part for part in inherited["PATH"].split(os.pathsep) if Path(part) != UV.parent]
        temporary = self.folder / "tmp"
        temporary.mkdir(exist_ok=True)
        return {
            **{name: value for name, value in inherited.items() if name != "VIRTUAL_ENV"},
            "PATH": os.pathsep.join([str(self._venv / "bin"), *programs]),
            "TMPDIR": str(temporary),
            "AIRFLOW_HOME": str(self.folder / "airflow"),
            "AIRFLOW__CORE__DAGS_FOLDER": str(self.folder / "examples"),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        }
