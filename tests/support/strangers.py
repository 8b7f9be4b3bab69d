"""DVC projects that know nothing of Airflow, as strangers write them; run by their stages, without Airflow."""

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

from dvc_airflow.command import CommandRunner, base_environment
from dvc_airflow.lockfile import Lock, merge_locks
from dvc_airflow.project import load_project
from dvc_airflow.project_run import ProjectRun
from dvc_airflow.push_run import PushRun
from dvc_airflow.result import StageResult
from dvc_airflow.stage_run import StageRun
from dvc_airflow.stage_settings import StageSettings
from tests.support.copies import ROOT

#: what the stages' processes, and DVC's, have imported when they start
WARM = ("json", "decimal")
#: for ``python -m dvc_airflow``
WITH_PLUGINS = {**os.environ, "PYTHONPATH": str(ROOT / "plugins")}


class Stranger:
    """A git checkout of a project with the files given, a cache that its tasks share, and a folder as its remote.

    All files are committed, whatever an ignore rule says.

    :param files: None: the folder has all of it already.
    """

    def __init__(self, folder: Path, files: Mapping[str, str] | None = None) -> None:
        self.path, self.cache, self.remote = folder / "project", folder / "cache", folder / "remote"
        self._graphs = folder / "graphs"
        if files is None:
            return
        self.write({".dvc/config": "[core]\n    analytics = false\n", ".dvc/.gitignore": "/cache\n/tmp\n", **files})
        run_git(self.path, "init", "--quiet")
        self.commit()

    def write(self, files: Mapping[str, str]) -> None:
        for name, text in files.items():
            path = self.path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    def commit(self) -> None:
        """Everything, whatever an ignore rule says."""
        run_git(self.path, "add", "--all", "--force")
        run_git(self.path, "commit", "--quiet", "--message", "As it is")

    def run(
        self,
        *only: str,
        cache: bool = True,
        force: bool = False,
        env: Sequence[str] = (),
        passed_on: Sequence[str] = (),
        remote: bool = True,
        dag_id: str = "dag",
        push: bool = False,
        earlier: Mapping[str, StageResult] | None = None,
    ) -> dict[str, StageResult]:
        """Run the stages one after the other, each as a task would.

        :param only: of these stages; default: of all.
        :param env: variables that the stages get.
        :param passed_on: variables that they are to get, as the messages know.
        :param earlier: results of stages that are not run.
        """
        project, results = load_project(self.path, self._graphs), dict(earlier or {})
        run = self.project_run(dag_id, cache=cache, remote=remote)
        for stage in project.stages:
            if only and stage.name not in only:
                continue
            settings = StageSettings(
                stage.name,
                f"dvc repro --single-item {stage.name}",
                stage.command,
                project.definitions,
                is_frozen=stage.frozen,
                sources=stage.sources,
                outputs=project.outputs,
                passed_on=tuple(passed_on),
                environment=lambda: {**base_environment(), **{name: os.environ[name] for name in env}},
            )
            lock = merge_locks(results[name].lock for name in stage.upstream)
            # What DVC writes by itself, in new processes, is what these results are compared with.
            results[stage.name] = StageRun(run, settings, lock, force=force, runner=CommandRunner(WARM)).run()
        if push:
            PushRun(run, list(results.values())).run()
        return results

    def project_run(self, dag_id: str = "dag", *, cache: bool = True, remote: bool = True) -> ProjectRun:
        return ProjectRun(
            self.path,
            dag_id=dag_id,
            run_id=uuid4().hex,
            cache_dir=self.cache if cache else None,
            remote_url=str(self.remote) if remote else None,
        )


def outcomes(results: Mapping[str, StageResult]) -> dict[str, str]:
    return {name: str(result.outcome) for name, result in results.items()}


def md5s(lock: Lock) -> dict[str, str]:
    """The hash of each output."""
    entries = [entry for stages in lock.values() for entry in stages.values()]
    return {out["path"]: out["md5"] for entry in entries for out in entry.get("outs", [])}


def dvc(folder: Path, *arguments: str, **env: Any) -> str:
    """What the command prints, on both streams."""
    done = subprocess.run(
        [sys.executable, "-m", "dvc", *arguments],
        cwd=folder, env={**base_environment(), **env}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    return done.stdout


def run_git(folder: Path, *arguments: str) -> str:
    git = ["git", "-C", str(folder), "-c", "user.name=test", "-c", "user.email=test@localhost"]
    return subprocess.run([*git, *arguments], check=True, capture_output=True, text=True).stdout
