"""One run cold, unchanged and with one param changed: this DAG, bare DVC, a hand-written DAG."""

import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from threading import Event, Thread
from typing import Any

import psutil

from include.services.embedded.guard import descendants
from tests.bench.bench import RUNS, STAGES, Bench, edit
from tests.bench.report import ratios, timed

REPRO = "dvc repro && dvc push"
DVC_TASKS = (*(f"pipeline.{stage}" for stage in STAGES), "dvc_push")
HAND_WRITTEN = '''
"""The usual way: every stage written a second time, in one checkout."""

from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import DAG

with DAG("hand_written", schedule=None):
    tasks = [
        BashOperator(task_id=stage, bash_command="cd {project} && dvc repro -s " + stage, append_env=True)
        for stage in {stages}
    ]
    tasks.append(BashOperator(task_id="dvc_push", bash_command="cd {project} && dvc push", append_env=True))
    for before, after in zip(tasks, tasks[1:]):
        before >> after
'''

NO_OP = """
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG
with DAG("no_op", schedule=None):
    EmptyOperator(task_id="nothing", on_success_callback=[lambda context: None])  # else Airflow would not even run it
"""


@contextmanager
def peak_memory(found: dict[str, float], name: str) -> Iterator[None]:
    """Note the peak of the memory (PSS, MiB) of all processes that the block starts."""
    stop, peak = Event(), 0.0

    def watch() -> None:
        nonlocal peak
        while not stop.wait(0.2):
            total = 0
            for process in descendants(os.getpid()):
                with suppress(psutil.Error):
                    total += process.memory_full_info().pss
            peak = max(peak, total / 2**20)

    thread = Thread(target=watch)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
        found[name] = peak


@dataclass
class Times:
    """Seconds of one way to run the pipeline, by kind of run; a value per round."""

    cold: list[float] = field(default_factory=list)
    unchanged: list[float] = field(default_factory=list)
    changed: list[float] = field(default_factory=list)


def _step(place: Mapping[str, str], conf: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """A run that finds neither objects nor a champion of another place: that one would have to be scored again."""
    return {"conf": {"storage.prefix": place["prefix"], "registry.model_name": place["prefix"], **(conf or {})}}


KINDS = ("cold", "unchanged", "changed")


class OneRun:
    """The rounds of the measurement."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.whole, self.tasks, self.bare, self.hand_written = Times(), Times(), Times(), Times()
        self.start_up: list[float] = []
        self.warming: list[float] = []
        self.restored: list[float] = []

    def warm_up(self) -> None:
        """The run in which the server of warm starts is started: the first of all on a machine."""
        with self.bench.fresh() as place:
            (run,) = self.bench.dag(_step(place), DVC_CACHE_DIR=place["cache"])
        self.warming.append(sum(run["durations"][task] for task in DVC_TASKS))

    def begin(self) -> None:
        """How long Airflow takes to start, for a DAG that does nothing."""
        no_op = self.bench.folder / "no_op"
        no_op.mkdir(exist_ok=True)
        (no_op / "no_op.py").write_text(NO_OP)
        dags = {"AIRFLOW__CORE__DAGS_FOLDER": str(no_op)}
        self.start_up.append(timed(lambda: self.bench.dag({}, dag_id="no_op", **dags)))

    def round(self, number: int) -> None:
        """Run each kind once, in each way."""
        changed = 2.0 + number
        self._this_dag(changed)
        self._bare_dvc(changed)
        self._hand_written_dag()

    def _this_dag(self, changed: float) -> None:
        with self.bench.fresh() as place:
            confs = [{}, {}, {"model.C": changed}]
            steps = [_step(place, conf) for conf in confs]
            started = time.perf_counter()
            runs = self.bench.dag(*steps, DVC_CACHE_DIR=place["cache"])
            all_runs = time.perf_counter() - started
        for kind, run in zip(KINDS, runs, strict=True):
            getattr(self.whole, kind).append(run["seconds"])
            getattr(self.tasks, kind).append(sum(run["durations"][task] for task in DVC_TASKS))
        # The first run of a process has a part of Airflow's start-up in its first task.
        self.whole.cold[-1] = all_runs - self.start_up[-1] - sum(run["seconds"] for run in runs[1:])
        self.restored += [runs[1]["durations"][f"pipeline.{stage}"] for stage in STAGES]

    def _bare_dvc(self, changed: float) -> None:
        with self.bench.fresh() as place, self.bench.checkout(**place) as project:
            self.bare.cold.append(self.bench.shell(project, REPRO))
            self.bare.unchanged.append(self.bench.shell(project, REPRO))
            edit(project, "C: 1.0", f"C: {changed}")
            self.bare.changed.append(self.bench.shell(project, REPRO))

    def _hand_written_dag(self) -> None:
        with self.bench.fresh() as place, self.bench.checkout(**place) as project:
            dags = self.bench.folder / "hand"
            dags.mkdir(exist_ok=True)
            (dags / "hand.py").write_text(HAND_WRITTEN.format(project=project, stages=STAGES))
            env = {"AIRFLOW__CORE__DAGS_FOLDER": str(dags), "PYTHONPATH": str(project)}
            runs = self.bench.dag({}, {}, dag_id="hand_written", **env)
        for kind, run in zip(KINDS, runs, strict=False):  # a changed one would be a process of its own
            getattr(self.hand_written, kind).append(sum(run["durations"].values()))

    def memory(self) -> dict[str, float]:
        """Peaks of the memory (PSS, MiB) of a cold run."""
        found: dict[str, float] = {}
        with self.bench.fresh() as place, peak_memory(found, "this DAG, cold, with its stages and Airflow"):
            self.bench.dag(_step(place), DVC_CACHE_DIR=place["cache"])
        with self.bench.fresh() as place, self.bench.checkout(**place) as project, peak_memory(found, f"{REPRO}, cold"):
            self.bench.shell(project, REPRO)
        return found


def one_run(bench: Bench) -> None:
    """One run cold, unchanged and with one param changed; this DAG, bare DVC, a hand-written DAG; and their memory."""
    measured = OneRun(bench)
    measured.begin()
    measured.warm_up()
    for number in range(RUNS):
        print(f"round {number + 1} of {RUNS}", flush=True)
        measured.round(number)
    memory, add = measured.memory(), bench.report.add
    add("Airflow's start-up (a DAG that does nothing), left out below", measured.start_up, "s")
    add("cold: stages and push, and the start of the warm server", measured.warming, "s")
    for kind in KINDS:
        whole, tasks, bare, hand_written = (
            getattr(times, kind) for times in (measured.whole, measured.tasks, measured.bare, measured.hand_written)
        )
        add(f"{kind}: this DAG, whole run", whole, "s")
        add(f"{kind}: this DAG, stages and push", tasks, "s")
        add(f"{kind}: {REPRO}", bare, "s")
        add(f"{kind} run / {REPRO}", ratios(tasks, bare), "ratio")
        add(f"{kind} whole run, with lineage and registry / {REPRO}", ratios(whole, bare), "ratio")
        if hand_written:
            add(f"{kind}: hand-written tasks", hand_written, "s")
            add(f"{kind} tasks / hand-written tasks", ratios(tasks, hand_written), "ratio")
    add("restored stage", measured.restored, "s")
    for name, size in memory.items():
        add(f"peak memory: {name}", [size], "MiB")
