"""The deployment of the measurements."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Any
from uuid import uuid4

from tests.bench.report import Report, timed
from tests.support.copies import ROOT
from tests.support.deployment import Deployment

AIRFLOW = ROOT / "tests" / "support" / "in_airflow.py"
RUNS = int(os.environ.get("BENCH_RUNS", "3"))
START = date(2026, 3, 1)
STAGES = ("get_data", "preprocess", "train_and_evaluate")


class Bench:
    """The deployment of the measurements."""

    def __init__(self, deployment: Deployment, folder: Path, report: Report) -> None:
        self.deployment, self.folder, self.report = deployment, folder, report

    def dag(self, *steps: Mapping[str, Any], dag_id: str = "ml_pipeline", **env: str) -> list[dict[str, Any]]:
        """Run a DAG by dag.test() in a new process, as `airflow dags test` does; all runs must succeed."""
        # -P: not to find tests/support among the modules of that process.
        done = self.deployment.python("-P", str(AIRFLOW), dag_id, json.dumps(steps), **env)
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
        shutil.copytree(self.deployment.project, project, ignore=shutil.ignore_patterns(".embedded", ".git"))
        (project / ".dvc" / "config.local").write_text(
            f"[core]\n    no_scm = true\n[cache]\n    dir = {cache}\n"
            f"['remote \"store\"']\n    url = s3://{self.deployment.bucket}/{prefix}\n"
        )
        yield project
        shutil.rmtree(project)

    def shell(self, project: Path, command: str) -> float:
        """Run a command in a checkout; seconds."""
        env = {**self.deployment.env, "PYTHONPATH": str(project)}

        def work() -> None:
            done = subprocess.run(["bash", "-c", command], cwd=project, env=env, capture_output=True, text=True)
            assert done.returncode == 0, done.stdout + done.stderr

        return timed(work)


def edit(project: Path, old: str, new: str) -> None:
    """Change a piece of a checkout's config.yaml."""
    file = project / "config" / "config.yaml"
    text = file.read_text()
    assert text.count(old) == 1, (old, text.count(old))
    file.write_text(text.replace(old, new))
