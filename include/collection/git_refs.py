"""Which objects the commits of a checkout name: by dvc.lock and .dvc files of all its refs, and as they lie there."""

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

from include.errors import ConfigError

# In either style of YAML. Read by this alone: a file of an old commit may be of any version, or hold a conflict.
MD5_IN_YAML = re.compile(rb"md5['\"]?\s*:\s*['\"]?([0-9a-f]{32}(?:\.dir)?)")
TIMEOUT = 120  # seconds


def named_in_git(project_dir: Path) -> set[str] | None:
    """The MD5s that branches, tags, remote branches, the newest stash and detached HEADs name, or the files of now.

    :return: None if it is not a git checkout.
    :raises ConfigError: it is one, and git fails.
    """
    top = next((folder for folder in (project_dir, *project_dir.parents) if (folder / ".git").exists()), None)
    if top is None:
        return None
    trees = _peeled(top, _git(top, "for-each-ref", "--format=%(objectname)").decode().split())
    worktrees = _git(top, "worktree", "list", "--porcelain").decode(errors="replace").splitlines()
    trees |= {line.split()[1] for line in worktrees if line.startswith("HEAD ") and set(line.split()[1]) != {"0"}}
    blobs = {blob for tree in trees for blob in _blobs(top, tree)}
    found = {md5.decode() for md5 in MD5_IN_YAML.findall(_contents(top, sorted(blobs)))}
    names = _git(top, "ls-files", "-z", "--cached", "--others", "--", "*dvc.lock", "*.dvc").decode(errors="replace")
    for name in filter(_is_lock, names.split("\0")):
        if (top / name).is_file():
            found |= {md5.decode() for md5 in MD5_IN_YAML.findall((top / name).read_bytes())}
    return found


def _peeled(top: Path, refs: list[str]) -> set[str]:
    """What tags mean, and tags of tags: the commits and trees among it."""
    lines = _contents(top, [f"{name}^{{}}" for name in refs], "--batch-check").decode().splitlines()
    return {name for name, kind, _ in map(str.split, lines) if kind in ("commit", "tree")}


def _blobs(top: Path, tree: str) -> Iterator[str]:
    for line in _git(top, "ls-tree", "-r", "-z", "--full-tree", tree).decode(errors="replace").split("\0"):
        about, _, name = line.partition("\t")
        if _is_lock(name) and " blob " in about:
            yield about.split()[2]


def _is_lock(name: str) -> bool:
    file = name.rpartition("/")[2]
    return file == "dvc.lock" or (file.endswith(".dvc") and file != ".dvc")


def _contents(top: Path, names: list[str], what: str = "--batch") -> bytes:
    found = _git(top, "cat-file", what, given="\n".join(names).encode()) if names else b""
    if lost := re.search(rb"^[0-9a-f]{40,64}(\^\{\})? missing$", found, re.MULTILINE):
        raise _failed(top, f"object {lost[0].decode()}")
    return found


def _git(folder: Path, *arguments: str, given: bytes = b"") -> bytes:
    # A checkout of another owner is ours to read, as a container's often is; nothing that it configures is run.
    settings = ["-c", f"safe.directory={folder.resolve()}", "-c", "core.fsmonitor=false", "--no-optional-locks"]
    command = ["git", *settings, "-C", str(folder), *arguments]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    environment["GIT_CEILING_DIRECTORIES"] = str(folder.parent)  # where this checkout is damaged, not that around it
    try:
        done = subprocess.run(command, input=given, env=environment, capture_output=True, timeout=TIMEOUT, check=True)
        return done.stdout
    except FileNotFoundError:
        said = "there is no git"
    except subprocess.TimeoutExpired:
        said = f"it did not answer within {TIMEOUT} s"
    except subprocess.CalledProcessError as error:
        said = (error.stderr.decode(errors="replace").strip().splitlines() or ["it gave no reason"])[-1]
    raise _failed(folder, f"`git {' '.join(arguments[:2])}` failed: {said}")


def _failed(folder: Path, why: str) -> ConfigError:
    return ConfigError(
        f"git in {folder}: {why}. What the commits of this checkout name is not known. Repair the checkout, or call gc "
        "in another one."
    )
