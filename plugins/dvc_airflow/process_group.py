"""Ends a command with all the processes that it started."""

import os
import signal
import time
from contextlib import suppress

# Airflow itself kills a task that has not ended five seconds after the signal.
GRACE_SECONDS = 3.0


def end_group(leader: int) -> None:
    """SIGTERM to the process group, so that it can tidy up; SIGKILL to what is left of it after `GRACE_SECONDS`.

    :param leader: process id of the group's first process.
    """
    for number, patience in ((signal.SIGTERM, GRACE_SECONDS), (signal.SIGKILL, 1.0)):
        if not _alive(leader):
            return
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(leader, number)
        end = time.monotonic() + patience
        while _alive(leader) and time.monotonic() < end:
            time.sleep(0.05)


def _alive(group: int) -> bool:
    import psutil

    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            if os.getpgid(process.pid) == group and process.status() != psutil.STATUS_ZOMBIE:
                return True
    return False
