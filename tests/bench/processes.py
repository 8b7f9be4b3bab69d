"""CPU seconds of Airflow, its services and its tasks, by kind of process."""

import os
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

SAMPLE_SECONDS = 0.1
TASKS, STAGES, DVC = "task processes", "stages", "dvc processes"
# In the command line or title of a process -> its kind; the first one counts.
KINDS = {
    "airflow worker": TASKS,  # LocalExecutor's workers, which fork the tasks
    "airflow scheduler": "scheduler",
    "scheduler": "scheduler",
    "api_server": "API server",
    "api-server": "API server",
    "postgres": "PostgreSQL",
    "weed": "store",
    "mlflow": "MLflow",
    "dag-processor": "DAG processor",
}


@contextmanager
def counted(folder: Path) -> Iterator[dict[str, float]]:
    """The CPU seconds that are used within the block, by kind; filled when it ends.

    A process that has ended by then counts for the one that waited for it.

    :param folder: in the command lines of the services, which are no children of this process.
    """
    seconds: dict[str, float] = {}
    commands: dict[int, tuple[str, float]] = {}
    stop = threading.Event()
    sampler = threading.Thread(target=_sample, args=(commands, stop), daemon=True)
    before = _used(folder)
    sampler.start()
    try:
        yield seconds
    finally:
        stop.set()
        sampler.join()
        after = _used(folder)
        after.subtract(before)
        seconds |= {kind: float(value) for kind, value in after.items()}
        for kind, value in commands.values():
            seconds[kind] = seconds.get(kind, 0.0) + value
            seconds[TASKS] = seconds.get(TASKS, 0.0) - value


def _used(folder: Path) -> "Counter[str]":
    """Of all processes that run, and of those that they have waited for."""
    used: Counter[str] = Counter()
    for process in _processes(folder):
        with suppress(psutil.Error):
            times = process.cpu_times()
            seconds = times.user + times.system + times.children_user + times.children_system
            used[_kind(process)] += seconds  # type: ignore[assignment]
    return used


def _processes(folder: Path) -> list[psutil.Process]:
    me = psutil.Process()
    found = {process.pid: process for process in me.children(recursive=True)}
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.pid != me.pid and str(folder) in " ".join(process.cmdline()):
                found |= {one.pid: one for one in (process, *process.children(recursive=True))}
    return list(found.values())


def _kind(process: psutil.Process) -> str:
    command = " ".join(process.cmdline())
    return next((kind for sign, kind in KINDS.items() if sign in command), "other")


def _sample(commands: dict[int, tuple[str, float]], stop: threading.Event) -> None:
    """Note what the commands of stages have used, for they end: within a sample's time of all that they use."""
    me = psutil.Process(os.getpid())
    while not stop.wait(SAMPLE_SECONDS):
        for process in me.children(recursive=True):
            with suppress(psutil.Error):
                words = process.cmdline()
                kind = STAGES if any("include.stages." in word for word in words) else DVC
                if kind == STAGES or any(Path(word).name == "dvc" for word in words[:2]):
                    times = process.cpu_times()
                    commands[process.pid] = (kind, times.user + times.system)
