"""Copies of the project to work in, so that no test touches the checkout."""

import os
import shutil
import subprocess
import sys
from collections.abc import Collection
from pathlib import Path

from dvc_airflow.project_files import project_files

ROOT = Path(__file__).resolve().parents[2]
# What no task reads: each task gets a copy of the project, and of its files these would be the half.
UNUSED_BY_TASKS = ("docs", "examples", "tests")
BUILD = ROOT / "build" / "tests"  # what test runs write; `make clean` removes it


def clean_environment() -> dict[str, str]:
    """The environment without what a shell with `make env-vars`, or CI, may have set."""
    aws = ("AWS_ACCESS", "AWS_SECRET", "AWS_SESSION", "AWS_ENDPOINT", "AWS_DEFAULT")
    foreign = ("AIRFLOW", *aws, "MLFLOW_", "DVC_", "STORE_", "SOURCE_", "EMBEDDED_DIR", "CONF", "PYTHON")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    programs = str(Path(sys.executable).parent)
    return {**kept, "PATH": os.pathsep.join([programs, os.environ.get("PATH", os.defpath)])}


def copy_of_project(target: Path, without: Collection[str] = ()) -> Path:
    """Copy the project's code into an empty folder: a git checkout like a fresh clone.

    :param without: folders at the top to leave out, such as `UNUSED_BY_TASKS`.
    """
    for name in project_files(ROOT):
        if name.partition("/")[0] in without:
            continue
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, target / name)
    shutil.copytree(ROOT / ".dvc" / "plots", target / ".dvc" / "plots")
    for name in ("config", ".gitignore"):
        shutil.copy2(ROOT / ".dvc" / name, target / ".dvc" / name)
    git = ["git", "-C", str(target), "-c", "user.name=test", "-c", "user.email=test@localhost"]
    for arguments in (["init", "--quiet"], ["add", "."], ["commit", "--quiet", "--message", "copy"]):
        subprocess.run([*git, *arguments], check=True)
    return target
