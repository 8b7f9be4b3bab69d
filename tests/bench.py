"""``make bench``: what the tasks cost beside plain DVC and beside the usual hand-written DAG. No test: it measures.

All in one run on one machine, as medians; `TARGETS` says what the project wants to reach. Writes a table, a plot and
``build/bench/results.json``: name of the measure -> median, min, max, runs, unit.
"""

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import date, timedelta
from pathlib import Path
from threading import Event, Thread
from typing import Any
from uuid import uuid4

import psutil
from sklearn.datasets import load_iris

from include.lineage.lineage_store import VERDICT, LineageStore, RunKey
from include.settings import RuntimeSettings
from include.settings.config_file import load_config
from tests.support.copies import ROOT, copy_of_project
from tests.support.parts import running_parts
from tests.support.scheduler import Airflow, running_airflow
from tests.support.site import Site, new_site

AIRFLOW = ROOT / "tests" / "support" / "airflow_fork.py"
RESULTS = ROOT / "build" / "bench"
RUNS = int(os.environ.get("BENCH_RUNS", "3"))
DAYS = int(os.environ.get("BENCH_DAYS", "30"))
START = date(2026, 3, 1)
AT_ONCE = 50  # runs
TASKS = 4  # at a time: two per core. With more runs at a time Airflow's scheduler takes longer for each of its rounds
STAGES = ("get_data", "preprocess", "train_and_evaluate")
DVC_TASKS = (*(f"pipeline.{stage}" for stage in STAGES), "dvc_push")
# measure -> the most that it should be
TARGETS = {
    "cold run / dvc repro && dvc push": 1.3,
    "unchanged tasks / hand-written tasks": 0.5,
    "restored stage": 1.0,
    "look-up with 10,000 / with 10 entries": 1.2,
    "backfill cold / loop of dvc repro": 0.7,
    "backfill repeated / loop of dvc repro": 0.2,
    "backfill repeated / cold loop of dvc repro": 0.2,
    "parsing 300 stages, above an empty file": 0.3,
    "first page of `runs` over 1,000 runs": 1.0,
}

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

EMPTY_DAG = """
from pathlib import Path
from airflow.sdk import DAG
from dvc_airflow.operators import DvcPushOperator
from dvc_airflow.task_group import DvcTaskGroup
with DAG("bench", schedule=None):
    pass
"""


class Report:
    """Collects the measures, and writes them after each, so that a run that is cut short leaves what it has."""

    def __init__(self) -> None:
        self.measures: dict[str, dict[str, Any]] = {}
        RESULTS.mkdir(parents=True, exist_ok=True)

    def add(self, name: str, values: Sequence[float], unit: str) -> float:
        """:return: the median."""
        median = statistics.median(values)
        self.measures[name] = {
            "median": round(median, 3),
            "min": round(min(values), 3),
            "max": round(max(values), 3),
            "runs": len(values),
            "unit": unit,
        }
        print(f"{name}: {median:.3f} {unit} ({min(values):.3f} to {max(values):.3f}, {len(values)} runs)", flush=True)
        (RESULTS / "results.json").write_text(json.dumps(self.measures, indent=2) + "\n")
        return median

    def table(self) -> str:
        """The measures as Markdown, with the targets."""
        lines = ["| measure | median | min | max | runs | unit | at most |", "|---|---|---|---|---|---|---|"]
        for name, one in self.measures.items():
            target = TARGETS.get(name, "")
            row = [name, *(one[key] for key in ("median", "min", "max", "runs", "unit")), target]
            lines.append(f"| {' | '.join(map(str, row))} |")
        return "\n".join(lines) + "\n"

    def plot(self, file: Path) -> None:
        """Each measure that has a target, as a share of it."""
        from matplotlib.figure import Figure

        shares = {name: one["median"] / TARGETS[name] for name, one in self.measures.items() if name in TARGETS}
        figure = Figure(figsize=(9, 4), layout="constrained")
        axes = figure.subplots()
        axes.barh(
            list(shares), list(shares.values()), color=["C0" if share <= 1 else "C3" for share in shares.values()]
        )
        axes.axvline(1.0, color="black", linestyle="--")
        axes.set_xlabel("share of what it should be at most (dashed: the limit)")
        axes.invert_yaxis()
        figure.savefig(file, dpi=120)


def timed(work: Callable[[], Any]) -> float:
    """Seconds of wall time."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


@contextmanager
def peak_memory(found: dict[str, float], name: str) -> Iterator[None]:
    """Note the peak of the memory (PSS, MiB) of all processes that the block starts."""
    stop, peak = Event(), 0.0

    def watch() -> None:
        nonlocal peak
        while not stop.wait(0.2):
            total = 0
            for process in psutil.Process().children(recursive=True):
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


class Bench:
    """The site of the measurements."""

    def __init__(self, site: Site, folder: Path, report: Report) -> None:
        self.site, self.folder, self.report = site, folder, report

    def dag(self, *steps: Mapping[str, Any], dag_id: str = "ml_pipeline", **env: str) -> list[dict[str, Any]]:
        """Run a DAG by dag.test() in a new process, as `airflow dags test` does; all runs must succeed."""
        # -P: not to find tests/support among the modules of that process.
        done = self.site.python("-P", str(AIRFLOW), dag_id, json.dumps(steps), **env)
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        runs = json.loads(done.stdout.splitlines()[-1])
        assert [run["state"] for run in runs] == ["success"] * len(runs), runs
        return runs

    @contextmanager
    def fresh(self) -> Iterator[dict[str, str]]:
        """An empty cache, and a part of the bucket where nothing is."""
        name = uuid4().hex[:8]
        cache = self.folder / f"cache-{name}"
        yield {"prefix": name, "cache": str(cache)}
        shutil.rmtree(cache, ignore_errors=True)

    @contextmanager
    def checkout(self, prefix: str, cache: str) -> Iterator[Path]:
        """A copy of the project to run dvc in by hand."""
        project = self.folder / f"checkout-{prefix}"
        shutil.copytree(self.site.project, project, ignore=shutil.ignore_patterns(".embedded", ".git"))
        (project / ".dvc" / "config.local").write_text(
            f"[core]\n    no_scm = true\n[cache]\n    dir = {cache}\n"
            f"['remote \"store\"']\n    url = s3://{self.site.bucket}/{prefix}\n"
        )
        yield project
        shutil.rmtree(project)

    def shell(self, project: Path, command: str) -> float:
        """Run a command in a checkout; seconds."""
        env = {**self.site.env, "PYTHONPATH": str(project)}

        def work() -> None:
            done = subprocess.run(["bash", "-c", command], cwd=project, env=env, capture_output=True, text=True)
            assert done.returncode == 0, done.stdout + done.stderr

        return timed(work)


def one_run(bench: Bench) -> None:
    """(a), (b) and (f): one run cold, unchanged and with one param changed; this DAG, bare DVC, a hand-written DAG."""
    ours: dict[str, list[float]] = {"cold": [], "unchanged": [], "changed": []}
    tasks: dict[str, list[float]] = {name: [] for name in ours}
    bare: dict[str, list[float]] = {name: [] for name in ours}
    hand: dict[str, list[float]] = {name: [] for name in ours}
    start_up: list[float] = []
    restored: list[float] = []
    memory: dict[str, float] = {}
    (no_op := bench.folder / "no_op").mkdir()
    (no_op / "no_op.py").write_text(NO_OP)
    for number in range(RUNS):
        print(f"round {number + 1} of {RUNS}", flush=True)
        start_up.append(timed(lambda: bench.dag({}, dag_id="no_op", AIRFLOW__CORE__DAGS_FOLDER=str(no_op))))
        changed = {"model.C": 2.0 + number}
        with bench.fresh() as place:
            confs = [{}, {}, changed]
            steps = [{"conf": {"storage.prefix": place["prefix"], **conf}} for conf in confs]
            started = time.perf_counter()
            runs = bench.dag(*steps, DVC_CACHE_DIR=place["cache"])
            whole = time.perf_counter() - started
            for name, run in zip(ours, runs, strict=True):
                ours[name].append(run["seconds"])
                tasks[name].append(sum(run["durations"][task] for task in DVC_TASKS))
            # The first run of a process has a part of Airflow's start-up in its first task.
            ours["cold"][-1] = whole - start_up[-1] - sum(run["seconds"] for run in runs[1:])
            restored += [runs[1]["durations"][f"pipeline.{stage}"] for stage in STAGES]
        with bench.fresh() as place, bench.checkout(**place) as project:
            bare["cold"].append(bench.shell(project, "dvc repro && dvc push"))
            bare["unchanged"].append(bench.shell(project, "dvc repro && dvc push"))
            edit(project, "C: 1.0", f"C: {changed['model.C']}")
            bare["changed"].append(bench.shell(project, "dvc repro && dvc push"))
        with bench.fresh() as place, bench.checkout(**place) as project:
            dags = bench.folder / "hand"
            dags.mkdir(exist_ok=True)
            (dags / "hand.py").write_text(HAND_WRITTEN.format(project=project, stages=STAGES))
            env = {"AIRFLOW__CORE__DAGS_FOLDER": str(dags), "PYTHONPATH": str(project)}
            runs = bench.dag({}, {}, dag_id="hand_written", **env)
            edit(project, "C: 1.0", f"C: {changed['model.C']}")
            runs += bench.dag({}, dag_id="hand_written", **env)
            for name, run in zip(hand, runs, strict=True):
                hand[name].append(sum(run["durations"].values()))
    add = bench.report.add
    with bench.fresh() as place:
        step = {"conf": {"storage.prefix": place["prefix"]}}
        with peak_memory(memory, "this DAG, cold, with its stages and Airflow"):
            bench.dag(step, DVC_CACHE_DIR=place["cache"])
    with (
        bench.fresh() as place,
        bench.checkout(**place) as project,
        peak_memory(memory, "dvc repro && dvc push, cold"),
    ):
        bench.shell(project, "dvc repro && dvc push")
    add("Airflow's start-up (a DAG that does nothing), left out below", start_up, "s")
    for name in ours:
        add(f"{name}: this DAG, whole run", ours[name], "s")
        add(f"{name}: this DAG, stages and push", tasks[name], "s")
        add(f"{name}: dvc repro && dvc push", bare[name], "s")
        add(f"{name}: hand-written tasks", hand[name], "s")
    for name in ours:
        target = f"{name} run / dvc repro && dvc push"
        add(target, ratios(tasks[name], bare[name]), "ratio")
        add(
            f"{name} whole run, with lineage and registry / dvc repro && dvc push",
            ratios(ours[name], bare[name]),
            "ratio",
        )
        add(f"{name} tasks / hand-written tasks", ratios(tasks[name], hand[name]), "ratio")
    add("restored stage", restored, "s")
    for name, size in memory.items():
        add(f"peak memory: {name}", [size], "MiB")


def look_up(bench: Bench) -> None:
    """(d): a restored stage that is looked up in the store, with 10 and with 10,000 entries of other runs there."""
    env = {"DVC_CACHE_DIR": "none"}
    prefix = "lookup"
    step = {"conf": {"storage.prefix": prefix}}
    bench.dag(step, **env)
    medians = {}
    there = 0
    for entries in (10, 10_000):
        print(f"with {entries} entries", flush=True)
        put_entries(bench.site, prefix, entries - there)
        there = entries
        # The first run pays for the imports; under the scheduler each task would.
        runs = bench.dag(*[step] * (max(RUNS, 3) + 1), **env)
        seconds = [run["durations"]["pipeline.preprocess"] for run in runs[1:]]
        medians[entries] = bench.report.add(f"look-up in the store with {entries:,} entries", seconds, "s")
    bench.report.add("look-up with 10,000 / with 10 entries", [medians[10_000] / medians[10]], "ratio")


def put_entries(site: Site, prefix: str, count: int) -> None:
    """Run-cache entries as other runs would leave them."""
    s3 = site.s3
    text = b"cmd: x\ndeps:\n- path: x\n  md5: " + b"0" * 32 + b"\nouts:\n- path: y\n  md5: " + b"0" * 32 + b"\n"

    def put(_: int) -> None:
        key, value = uuid4().hex * 2, uuid4().hex * 2
        s3.put_object(Bucket=site.bucket, Key=f"{prefix}/runs/{key[:2]}/{key}/{value}", Body=text)

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(put, range(count)))


def past_runs(bench: Bench) -> None:
    """The command ``runs``, start of Python included, when a thousand runs are on record."""
    site, report = bench.site, bench.report
    site.dag({})
    config = load_config(site.project)
    runtime = RuntimeSettings.model_validate({name.lower(): value for name, value in site.env.items()})
    archive = LineageStore(config, runtime)
    (first,) = archive.newest(1)
    manifest, verdict = archive.read(first), json.dumps(archive.verdict(first)).encode()

    def put(number: int) -> None:
        started = f"{START + timedelta(days=number)}T00:00:00+00:00"
        run = manifest.airflow.model_copy(update={"run_id": f"scheduled__{number:04}", "started_at": started})
        archive.record(manifest.model_copy(update={"airflow": run}))
        archive.add(RunKey(run.dag_id, run.run_id), VERDICT, verdict)

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(put, range(999)))

    def page() -> None:
        done = site.python("-m", "include", "runs")
        assert done.returncode == 0, done.stderr
        assert len(done.stdout.splitlines()) == 21

    report.add("first page of `runs` over 1,000 runs", [timed(page) for _ in range(3 * RUNS)], "s")
    report.add("python -c pass, for comparison", [timed(lambda: site.python("-c", "pass")) for _ in range(RUNS)], "s")


def parsing(bench: Bench) -> None:
    """(e): the DAG file of a project with 3 and with 300 stages, in a fresh process, the second time."""
    files = {}
    for count in (3, 300):
        project = bench.folder / f"stages-{count}"
        project.mkdir()
        stages = "".join(
            f"  s{number}: {{cmd: 'cp in{number} out{number}', deps: [in{number}], outs: [out{number}]}}\n"
            for number in range(count)
        )
        (project / "dvc.yaml").write_text(f"stages:\n{stages}")
        files[f"{count} stages"] = EMPTY_DAG.replace(
            "    pass\n", f"    DvcTaskGroup('stages', project_dir=Path({str(project)!r}))\n"
        )
    files["an empty file"] = EMPTY_DAG
    seconds: dict[str, list[float]] = {name: [] for name in files}
    for name, text in files.items():
        file = bench.folder / "parse.py"
        file.write_text(text)
        code = (
            "import runpy, time; started = time.perf_counter(); "
            f"runpy.run_path({str(file)!r}); print(time.perf_counter() - started)"
        )
        for number in range(max(RUNS, 3) + 1):
            done = bench.site.python("-c", code, PYTHONPATH=f"{ROOT}/plugins:{ROOT}")
            assert done.returncode == 0, done.stderr
            if number:
                seconds[name].append(float(done.stdout.splitlines()[-1]))
        bench.report.add(f"parsing {name}, second time", seconds[name], "s")
    above = statistics.median(seconds["300 stages"]) - statistics.median(seconds["an empty file"])
    bench.report.add("parsing 300 stages, above an empty file", [above], "s")


def backfill(bench: Bench, parts: Mapping[str, Any]) -> None:
    """(c): a backfill with the real scheduler against a loop of dvc repro over the same dates. Once: it takes long."""
    site = new_site(parts, "backfill", Path(tempfile.mkdtemp(dir=bench.folder)))
    site.s3.create_bucket(Bucket="landing")
    days = [START + timedelta(days=number) for number in range(DAYS)]
    for number, day in enumerate(days):
        frame = load_iris(as_frame=True).frame
        frame.iloc[0, 0] = 4 + number / 10
        site.s3.put_object(Bucket="landing", Key=f"iris/{day}.csv", Body=frame.to_csv(index=False).encode())
    loop = []
    with running_airflow(
        site, source="s3://landing/iris/{date:%Y-%m-%d}.csv", start=START, max_active_runs=AT_ONCE, parallelism=TASKS
    ) as airflow:
        ours = [
            bench.report.add(f"{DAYS}-date backfill, {name}", [one_backfill(airflow, days)], "s")
            for name in ("cold", "repeated")
        ]
        bench.report.add(f"{AT_ONCE} runs started at once, all succeeded", [runs_at_once(airflow)], "s")
    with bench.fresh() as place, bench.checkout(**place) as project:
        source = "source: sklearn:iris"
        for _ in ("cold", "repeated"):
            seconds = 0.0
            for day in days:
                edit(project, source, f"source: s3://landing/iris/{day}.csv")
                source = f"source: s3://landing/iris/{day}.csv"
                seconds += bench.shell(project, "dvc repro")
            loop.append(seconds)
    for name, mine, theirs in zip(("cold", "repeated"), ours, loop, strict=True):
        bench.report.add(f"loop of dvc repro over {DAYS} dates, {name}", [theirs], "s")
        bench.report.add(f"backfill {name} / loop of dvc repro", [mine / theirs], "ratio")
    bench.report.add("backfill repeated / cold loop of dvc repro", [ours[1] / loop[0]], "ratio")


def one_backfill(airflow: Airflow, days: Sequence[date]) -> float:
    """Run it, and wait for its end.

    :return: seconds from the creation on; what Airflow lets us wait for the end of an earlier one does not count.
    """
    airflow.backfill(str(days[0]), str(days[-1]), at_once=TASKS)
    started = time.perf_counter()
    states = airflow.ended("backfill__", len(days), 3600)
    assert set(states.values()) == {"success"}, states
    return time.perf_counter() - started


def runs_at_once(airflow: Airflow) -> float:
    """Trigger many runs that need the same results; all must succeed."""
    started = time.perf_counter()
    for number in range(AT_ONCE):
        airflow.trigger(f"at_once_{number}", **{"data.source": "sklearn:wine", "registry.minimum": 0.5})
    states = airflow.ended("at_once_", AT_ONCE, 3600)
    assert set(states.values()) == {"success"}, states
    return time.perf_counter() - started


def ratios(ones: Sequence[float], others: Sequence[float]) -> list[float]:
    """Run by run."""
    return [one / other for one, other in zip(ones, others, strict=True)]


def edit(project: Path, old: str, new: str) -> None:
    """Change a piece of a checkout's config.yaml."""
    file = project / "config" / "config.yaml"
    text = file.read_text()
    assert text.count(old) == 1, (old, text.count(old))
    file.write_text(text.replace(old, new))


def main() -> None:
    """Measure, and write the results."""
    parts_wanted = sys.argv[1:] or ["one_run", "look_up", "past_runs", "parsing", "backfill"]
    report = Report()
    with tempfile.TemporaryDirectory(prefix="bench-") as temporary:
        folder = Path(temporary)

        with running_parts(copy_of_project(folder / "project"), folder / "embedded") as parts:
            (folder / "bench").mkdir()
            bench = Bench(new_site(parts, "bench", folder / "bench"), folder, report)
            works = {"one_run": one_run, "look_up": look_up, "past_runs": past_runs, "parsing": parsing}
            works["backfill"] = lambda bench: backfill(bench, parts)
            for name in parts_wanted:
                print(f"== {name}", flush=True)
                works[name](bench)
    (RESULTS / "results.md").write_text(report.table())
    report.plot(RESULTS / "results.png")
    print(f"\n{report.table()}\nIn {RESULTS.relative_to(ROOT)}: results.json, results.md, results.png")


if __name__ == "__main__":
    main()
