"""A command of a stage: its explicit environment, its process group, and what its exit code means."""

import logging
import os
import pwd
import select
import shutil
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from dvc_airflow.failure import CommandError, Failure
from dvc_airflow.warm.start import warm_environment

log = logging.getLogger(__name__)

# Where programs are, who runs them, how they print, and which certificates they trust.
PASSED_ON = (
    "HOME",
    "LANG",
    "LANGUAGE",
    "LC_ALL",
    "LC_CTYPE",
    "TMPDIR",
    "TZ",
    "USER",
    "AWS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
    "REQUESTS_CA_BUNDLE",
    "SSL_CERT_DIR",
    "SSL_CERT_FILE",
)
# Airflow itself kills a task that has not ended five seconds after the signal.
GRACE_SECONDS = 3.0
KILL_SECONDS = 1.0  # for processes to go that have been killed
WRITERS_SECONDS = 3.0  # for the last of a stopped command's processes to go
KEPT_LINES = 2000  # of what a command printed: the cause may stand before what it had not yet written out
SHELLS = frozenset({"bash", "zsh", "fish", "ksh", "dash", "sh"})  # not nologin, or false
Environment = Callable[[], Mapping[str, str]]


def base_environment() -> dict[str, str]:
    """PATH (this Python's folder first, so that ``python`` and ``dvc`` are ours) and the variables of `PASSED_ON`.

    An explicit list, so that no Airflow setting and no secret slips in.
    """
    programs = str(Path(sys.executable).parent)
    return {
        "PATH": os.pathsep.join([programs, os.environ.get("PATH", os.defpath)]),
        "DVC_NO_ANALYTICS": "1",
        "SHELL": _shell(),  # in which DVC runs the commands of stages
        "PYTHONUNBUFFERED": "1",
        "PYTHONDONTWRITEBYTECODE": "1",  # __pycache__ in a folder that is a dependency would count as its content
        **{name: os.environ[name] for name in PASSED_ON if name in os.environ},
    }


def _shell() -> str:
    """The user's shell: by SHELL, else (a service has none) by the user's entry in the system, else bash."""
    by_user = ""
    with suppress(KeyError):
        by_user = pwd.getpwuid(os.getuid()).pw_shell
    for shell in (os.environ.get("SHELL", ""), by_user):
        if Path(shell).name in SHELLS and os.access(shell, os.X_OK):
            return shell
    return shutil.which("bash") or "/bin/sh"


class CommandRunner:
    """Runs bash commands, one at a time; `end` may be called from a signal handler or another thread.

    :param warm: modules that are imported already in the Python processes of a command, see `dvc_airflow.warm`.
    """

    def __init__(self, warm: Sequence[str] = ()) -> None:
        self._warm = warm
        self._process: subprocess.Popen[bytes] | None = None

    def run(self, command: str, environment: Mapping[str, str], folder: Path) -> None:
        """Run a command to its end. What it prints goes to the log, line by line.

        :param environment: all that its process gets.
        :raises CommandError: it failed; the message ends with the last lines that it printed.
        """
        log.info("Running: %s", command)
        process = subprocess.Popen(
            ["bash", "-c", command],
            cwd=folder,
            env=warm_environment(self._warm, environment, PASSED_ON),
            stdin=subprocess.DEVNULL,  # a task's own is a socket: bash takes that for a login, and reads ~/.bashrc
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self._process = process
        printed: deque[str] = deque(maxlen=KEPT_LINES)
        try:
            for line in process.stdout or ():
                # A progress bar returns the carriage for each step: the last one is its line.
                text = line.decode(errors="backslashreplace").rstrip().rpartition("\r")[2]
                printed.append(text)
                log.info("%s", text)
            process.wait()
        except BaseException:  # a time-out: the workspace goes when nothing runs in it any more
            end_group(process.pid)
            process.wait()
            _wait_for_writers(process)
            raise
        finally:
            self._process = None
            if process.stdout:
                process.stdout.close()
        if process.returncode:
            raise CommandError(Failure(command, process.returncode, tuple(printed)))

    def end(self) -> bool:
        """End the command that runs now, with all its processes.

        :return: whether one ran.
        """
        process = self._process
        if process is None or process.poll() is not None:
            return False
        end_group(process.pid)
        return True


def end_group(leader: int) -> None:
    """SIGTERM to the process group, so that it can tidy up; SIGKILL to what is left of it after `GRACE_SECONDS`.

    :param leader: process id of the group's first process.
    """
    for number, patience in ((signal.SIGTERM, GRACE_SECONDS), (signal.SIGKILL, KILL_SECONDS)):
        if not _is_alive(leader):
            return
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(leader, number)
        end = time.monotonic() + patience
        while _is_alive(leader) and time.monotonic() < end:
            time.sleep(0.05)


def _wait_for_writers(process: "subprocess.Popen[bytes]") -> None:
    """Until nobody writes to a command's pipe any more: forks of a warm start are in groups of their own, and end just
    after the programs that stand for them. For `WRITERS_SECONDS` at most: a daemon may keep it open.
    """
    if process.stdout is None:
        return
    pipe = process.stdout.fileno()
    poll = select.poll()
    poll.register(pipe, select.POLLIN)
    end = time.monotonic() + WRITERS_SECONDS
    while (left := end - time.monotonic()) > 0 and poll.poll(left * 1000):
        if not os.read(pipe, 1 << 16):
            return


def _is_alive(group: int) -> bool:
    import psutil

    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            if os.getpgid(process.pid) == group and process.status() != psutil.STATUS_ZOMBIE:
                return True
    return False
