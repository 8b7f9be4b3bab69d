"""Which state of the code a run used, by git."""

import os
import re
import subprocess
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field


class Code(BaseModel):
    """The commit, and whether tracked files differed from it; both are None outside a git checkout that says so.

    ``pack`` is the id of the run's code in the store, see `include.lineage.code_pack`; None: of a run before there were
    packs. ``bundle_version`` is that of the DAG's bundle, where it has versions.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    git_sha: Annotated[str, Field(pattern=r"^[0-9a-f]{7,64}$")] | None
    dirty: bool | None
    pack: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None
    bundle_version: str | None = None

    def __str__(self) -> str:
        return f"{self.git_sha or 'unknown'}{' (dirty)' if self.dirty else ''}"


def code_state(project_dir: Path) -> Code:
    """Ask git; where there is no checkout (a container), the variable GIT_SHA, which may end in ``-dirty``."""
    sha = git(project_dir, "rev-parse", "HEAD")
    if sha is None:
        found = re.fullmatch(r"([0-9a-f]{7,64})(-dirty)?", os.environ.get("GIT_SHA", ""))
        return Code(git_sha=found[1] if found else None, dirty=True if found and found[2] else None)
    changed = git(project_dir, "status", "--porcelain", "--untracked-files=no")
    return Code(git_sha=sha.decode().strip(), dirty=None if changed is None else bool(changed.strip()))


def git(project_dir: Path, *arguments: str) -> bytes | None:
    """The output of a git command; None if it fails, or there is no git."""
    # Git refuses a checkout of another owner, as a container's often is; this one is ours to read.
    command = ["git", "-c", f"safe.directory={project_dir}", "-C", str(project_dir), *arguments]
    try:
        return subprocess.run(command, capture_output=True, timeout=30, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return None
