"""What a DVC project consists of: its files, its stages and how they depend on each other."""

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pathspec import GitIgnoreSpec

from dvc_airflow.files import replacing

IGNORE_FILES = (".gitignore", ".dvcignore")
NEVER_COPIED = frozenset({".git", ".dvc", "__pycache__", "dvc.lock"})
DESCRIBE_TIMEOUT = 120  # seconds

IgnoreSpec = tuple[str, GitIgnoreSpec]  # the folder with the ignore file, and its rules


class DvcProjectError(Exception):
    """The DVC project cannot be read. The message is DVC's own, with the file and line."""


@dataclass(frozen=True)
class StageSpec:
    """A stage as dvc.yaml defines it, `foreach` and `matrix` expanded.

    ``name`` is what ``dvc repro`` takes; ``command`` is what it then runs, one command or several; ``upstream`` are the
    names of the stages whose outputs it reads; a ``frozen`` one has its outputs by the project's dvc.lock.
    """

    name: str
    task_id: str
    command: str | list[str]
    description: str | None
    upstream: tuple[str, ...]
    frozen: bool


@dataclass(frozen=True)
class Project:
    """What DVC says of a project: its stages, in an order in which they can run, and what it worked them out of.

    ``definitions`` are relative to the project: dvc.yaml and .dvc files, ignore files, and what the templating read.
    """

    stages: tuple[StageSpec, ...]
    definitions: tuple[str, ...]


def project_files(project_dir: Path, folder: str = "", specs: tuple[IgnoreSpec, ...] = ()) -> Iterator[str]:
    """All files that belong to the code: what no .gitignore or .dvcignore excludes, nested ones included, and no lock.

    :param folder: where to look, ``""`` or a path that ends in a slash; with the rules of the folders above it.
    :return: POSIX paths relative to ``project_dir``, sorted within each folder.
    """
    here = project_dir / folder
    lines = [line for name in IGNORE_FILES for line in _lines(here / name)]
    if lines:
        specs = (*specs, (folder, GitIgnoreSpec.from_lines(lines)))
    for entry in sorted(os.scandir(here), key=lambda entry: entry.name):
        path = f"{folder}{entry.name}"
        is_folder = entry.is_dir(follow_symlinks=False)  # a link to a folder is copied as a link
        ignored = any(
            spec.match_file(f"{path}/"[len(base) :] if is_folder else path[len(base) :]) for base, spec in specs
        )
        if entry.name in NEVER_COPIED or ignored:
            continue
        if is_folder:
            yield from project_files(project_dir, f"{path}/", specs)
        elif entry.is_file() or (entry.is_symlink() and entry.is_dir()):
            yield path


def load_project(project_dir: Path, cache_dir: Path) -> Project:
    """Read the project's stages.

    DVC itself reads them, in a process of its own: the DAG processor imports no DVC. The answer is cached by the
    content of all files that it depends on.

    :param cache_dir: where answers are kept between calls.
    :raises DvcProjectError: there is no dvc.yaml, or one is wrong.
    """
    if not project_dir.is_dir():
        raise DvcProjectError(f"{project_dir}: no such folder.")
    own = [path for path in project_files(project_dir) if path.endswith((".dvc", "dvc.yaml", *IGNORE_FILES))]
    if not any(path.endswith("dvc.yaml") for path in own):
        raise DvcProjectError(f"{project_dir}: no dvc.yaml there. Is project_dir the root of a DVC project?")
    cached = cache_dir / f"{_digest(project_dir, own)}.json"
    if answer := _read_cached(cached, project_dir):
        return _project(answer, own)
    answer = _describe(project_dir)
    answer["variable_files"] = {path: _file_digest(project_dir / path) for path in answer["variable_files"]}
    with replacing(cached) as part:
        part.write_text(json.dumps(answer), encoding="utf-8")
    return _project(answer, own)


def _project(answer: dict[str, Any], own: list[str]) -> Project:
    stages = tuple(StageSpec(**{**stage, "upstream": tuple(stage["upstream"])}) for stage in answer["stages"])
    return Project(stages, tuple(sorted({*own, *answer["variable_files"]})))


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines() if path.is_file() else []


def _describe(project_dir: Path) -> dict[str, Any]:
    command = [sys.executable, "-m", "dvc_airflow.dvc.describe", str(project_dir)]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)}
    done = subprocess.run(command, capture_output=True, text=True, timeout=DESCRIBE_TIMEOUT, env=environment)
    if done.returncode:
        reason = done.stderr.strip().splitlines() or ["DVC gave no reason"]
        raise DvcProjectError(f"{project_dir}: " + "\n".join(reason[-20:]))
    return dict(json.loads(done.stdout))


def _digest(project_dir: Path, paths: list[str]) -> str:
    whole = json.dumps([str(project_dir), *((path, _file_digest(project_dir / path)) for path in paths)])
    return hashlib.sha256(whole.encode()).hexdigest()


def _file_digest(path: Path) -> str | None:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None


def _read_cached(cached: Path, project_dir: Path) -> dict[str, Any] | None:
    try:
        answer: dict[str, Any] = json.loads(cached.read_text(encoding="utf-8"))
        if any(_file_digest(project_dir / path) != digest for path, digest in answer["variable_files"].items()):
            return None
        _project(answer, [])
    except (OSError, ValueError, KeyError, TypeError):
        return None  # none, or of another version of this module
    return answer
