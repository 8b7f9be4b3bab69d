"""A small DVC project that knows nothing of Airflow, with a shared cache and a folder as the remote."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

from dvc_airflow.dvc.objects import Objects
from dvc_airflow.dvc.outputs import outputs_to_push, push_outputs
from dvc_airflow.dvc.run_cache import RunCache
from dvc_airflow.project_run import ProjectRun
from dvc_airflow.result import StageResult
from dvc_airflow.stage_run import StageRun
from dvc_airflow.stage_settings import StageSettings

DVC_YAML = """
stages:
  make:
    cmd: mkdir -p out/sub && echo 1 > out/one && echo 2 > out/two && cp seed.txt out/sub/seed && echo 7 > score.json
    deps: [seed.txt]
    outs: [out]
    metrics: [score.json: {cache: false}]
  use:
    cmd: cat out/one out/two out/sub/seed > sum.txt
    deps: [out]
    params: [values.yaml: [factor]]
    outs: [sum.txt]
  one_file:
    cmd: cp out/one copy.txt
    deps: [out/one]
    outs: [copy.txt]
  sub_folder:
    cmd: cp out/sub/seed seed_copy.txt
    deps: [out/sub]
    outs: [seed_copy.txt]
  uncached:
    cmd: cp score.json read.json
    deps: [score.json]
    outs: [read.json]
  all_around:
    cmd: find results -type f | sort > list.txt
    deps: [results]
    outs: [list.txt]
  into_results:
    cmd: mkdir -p results && echo x > results/x
    deps: [seed.txt]
    outs: [results/x]
"""


STAGES = ("make", "use")
COMMANDS = {
    line.split(":")[0].strip(): command.removeprefix("    cmd: ")
    for line, command in zip(DVC_YAML.splitlines(), DVC_YAML.splitlines()[1:], strict=False)
    if command.startswith("    cmd: ")
}


class DvcProject:
    """A project, a shared cache, and a remote."""

    def __init__(self, folder: Path) -> None:
        self.path, self.cache, self.remote = folder / "project", folder / "cache", folder / "remote"
        for path in (self.path, self.cache, self.remote):
            path.mkdir()
        (self.path / "dvc.yaml").write_text(DVC_YAML)
        (self.path / "seed.txt").write_text("seed\n")
        (self.path / "values.yaml").write_text("factor: 1\n")
        (self.path / "results").mkdir()
        (self.path / "results" / "README").write_text("what is here\n")

    def project_run(self, dag_id: str, *, cache: bool = True) -> ProjectRun:
        return ProjectRun(
            self.path,
            dag_id=dag_id,
            run_id=uuid4().hex,
            cache_dir=self.cache if cache else None,
            remote_url=str(self.remote),
        )

    @contextmanager
    def repo(self, lock: dict | None = None) -> Iterator[Any]:
        with self.project_run("dag").workspace(lock or {}) as workspace, workspace.repo() as repo:
            yield repo

    def stage_run(
        self,
        stage: str,
        lock: dict | None = None,
        *,
        dag_id: str,
        cache: bool = True,
        command: str | None = None,
        **options: Any,
    ) -> StageRun:
        settings = StageSettings(stage, f"dvc repro --single-item {stage}", command or COMMANDS[stage], ("dvc.yaml",))
        return StageRun(self.project_run(dag_id, cache=cache), settings, lock or {}, **options)

    def run(self, stage: str, lock: dict | None = None, *, cache: bool = True, **options: Any) -> StageResult:
        """Run a stage in a DAG that has not run before, by the run-cache and not by the memo."""
        shutil.rmtree(self.cache / "airflow" / "sources", ignore_errors=True)
        return self.stage_run(stage, lock, dag_id=uuid4().hex, cache=cache, **options).run()

    def push(self, lock: dict) -> None:
        with self.repo(lock) as repo:
            push_outputs(Objects(repo), outputs_to_push(repo, STAGES))
            RunCache(repo).push(lock["dvc.lock"].values())

    def object_with(self, text: str, where: Path | None = None) -> Path:
        """The object with this content."""
        files = [file for file in ((where or self.cache) / "files" / "md5").rglob("*") if file.is_file()]
        (found,) = [file for file in files if file.read_text() == text]
        found.chmod(0o644)
        return found


def dvc(folder: Path, *arguments: str) -> None:
    done = subprocess.run([sys.executable, "-m", "dvc", *arguments], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def out(lock: dict, stage: str, path: str) -> dict[str, Any]:
    (found,) = [one for one in lock["dvc.lock"][stage]["outs"] if one["path"] == path]
    return found
