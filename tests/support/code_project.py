"""A small DVC project in a git checkout, whose code is packed for its runs."""

import os
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

from dvc_airflow.code_store import CodeStore
from dvc_airflow.packing import Packed
from dvc_airflow.project_run import ProjectRun
from dvc_airflow.result import StageResult
from dvc_airflow.stage_run import StageRun
from dvc_airflow.stage_settings import StageSettings

DVC_YAML = """\
stages:
  make:
    cmd: bash make.sh > made.txt
    deps: [make.sh, values.txt]
    outs: [made.txt]
"""


class Project:
    """A DVC project in a git checkout, with a folder as its remote."""

    def __init__(self, folder: Path, *, git: bool = True) -> None:
        self.path, self.cache, self.remote = folder / "project", folder / "cache", folder / "remote"
        self.graphs = folder / "graphs"
        for path in (self.path, self.cache, self.remote, self.path / ".dvc"):
            path.mkdir()
        (self.path / "dvc.yaml").write_text(DVC_YAML)
        (self.path / "make.sh").write_text("cat values.txt; echo made\n")
        (self.path / "values.txt").write_text("1\n")
        (self.path / ".gitignore").write_text("/made.txt\n/ignored*\n.env\n")
        (self.path / ".dvc" / ".gitignore").write_text("/config.local\n/tmp\n/cache\n")
        (self.path / ".dvc" / "config").write_text(
            f"[core]\n    remote = store\n['remote \"store\"']\n    url = {self.remote}\n"
        )
        if git:
            self.git("init", "-q")
            self.commit("First")

    def git(self, *arguments: str) -> str:
        names = {f"GIT_{role}_{what}": "a@b" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
        done = subprocess.run(
            ["git", *arguments], cwd=self.path, env={**os.environ, **names}, capture_output=True, text=True, check=True
        )
        return done.stdout.strip()

    def commit(self, message: str) -> str:
        self.git("add", "-A")
        self.git("commit", "-q", "-m", message)
        return self.git("rev-parse", "HEAD")

    def run(self, run_id: str = "run", *, cache: bool = True, **changes: Any) -> ProjectRun:
        cache_dir = self.cache if cache else None
        return replace(ProjectRun(self.path, dag_id="dag", run_id=run_id, cache_dir=cache_dir), **changes)

    def pack(self, run: ProjectRun | None = None) -> Packed:
        return CodeStore(run or self.run()).pack(self.graphs)

    def packed_run(self, packed: Packed, run: ProjectRun | None = None) -> ProjectRun:
        run = run or self.run()
        return replace(run, code=CodeStore(run).load(packed.id, packed.commit.sha))

    def stage(self, run: ProjectRun, name: str = "make") -> StageRun:
        command = "what the DAG's file was parsed with"
        settings = StageSettings(name, f"dvc repro --single-item {name}", command)
        return StageRun(run, run.as_packed(settings, []), {})

    def made(self, result: StageResult) -> str:
        """The output of the stage."""
        md5 = result.entry["outs"][0]["md5"]
        return next(
            file.read_text()
            for folder in (self.cache, self.remote)
            if (file := folder / "files" / "md5" / md5[:2] / md5[2:]).is_file()
        )


def files(*folders: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for folder in folders for path in folder.rglob("*") if path.is_file()}


def in_workspace(run: ProjectRun, *sources: str) -> dict[str, bytes]:
    with run.workspace({}, sources, run.code.listed.outputs if run.code else ()) as workspace:
        own = {str(path.relative_to(workspace.path)): path for path in workspace.path.rglob("*") if path.is_file()}
        return {name: path.read_bytes() for name, path in own.items() if not name.startswith(".dvc/")}
