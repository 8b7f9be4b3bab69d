"""In which state a git checkout is: its commit, whether something differs from it, whether git is changing it."""

import os
import subprocess
from pathlib import Path
from typing import NamedTuple

from dvc_airflow.files import FileState, state_of
from dvc_airflow.git_checkout import GitCheckout

TIMEOUT = 30  # seconds


class Commit(NamedTuple):
    """The commit, and whether tracked files of the project differ from it; None where that is not known."""

    sha: str | None
    dirty: bool | None


def commit_of(checkout: GitCheckout | None, project_dir: Path) -> Commit:
    """The commit of a checkout, as git says; where no git is installed, as the checkout's files say."""
    if checkout is None:
        return Commit(None, None)
    command = ["git", "-c", f"safe.directory={checkout.root}", "--no-optional-locks", "-C", str(project_dir)]
    command += ["status", "--porcelain=v2", "--branch", "--untracked-files=no", "--", "."]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    try:
        done = subprocess.run(command, capture_output=True, timeout=TIMEOUT, check=True, env=environment)
    except (OSError, subprocess.SubprocessError):
        return Commit(head_of(checkout), None)
    lines = done.stdout.decode(errors="replace").splitlines()
    sha = next((line.split()[-1] for line in lines if line.startswith("# branch.oid ")), "")
    return Commit(sha if sha.isalnum() else None, any(not line.startswith("#") for line in lines))


def head_of(checkout: GitCheckout) -> str | None:
    """The commit that is checked out."""
    from dulwich.repo import Repo

    try:
        with Repo(str(checkout.root)) as repo:
            return repo.head().decode()
    except Exception:  # noqa: BLE001 - of many kinds; there is none yet, or it is of a form that is not known
        return None


def is_changing(checkout: GitCheckout | None) -> bool:
    """Whether git is at work on the checkout's files: it holds this lock meanwhile."""
    return checkout is not None and (checkout.git_dir / "index.lock").exists()


def git_mark(checkout: GitCheckout | None) -> list[FileState | None]:
    """What differs after git has changed the checkout."""
    if checkout is None:
        return []
    return [state_of(checkout.git_dir / name) for name in ("index", "HEAD", "logs/HEAD")]
