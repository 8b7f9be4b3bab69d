"""What a DVC project consists of: its files, its stages and how they depend on each other."""

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from pathspec import GitIgnoreSpec

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
    names of the stages whose outputs it reads.
    """

    name: str
    task_id: str
    command: str | list[str]
    description: str | None
    upstream: tuple[str, ...]


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
        is_folder = entry.is_dir(follow_symlinks=False)
        ignored = any(
            spec.match_file(f"{path}/"[len(base) :] if is_folder else path[len(base) :]) for base, spec in specs
        )
        if entry.name in NEVER_COPIED or ignored:
            continue
        if is_folder:
            yield from project_files(project_dir, f"{path}/", specs)
        elif entry.is_file():
            yield path


def load_stages(project_dir: Path, cache_dir: Path) -> list[StageSpec]:
    """Read the project's stages, in an order in which they can run.

    DVC itself reads them, in a process of its own: the DAG processor imports no DVC. The answer is cached by the
    content of all files that it depends on.

    :param cache_dir: where answers are kept between calls.
    :raises DvcProjectError: dvc.yaml is missing or wrong.
    """
    if not (project_dir / "dvc.yaml").is_file():
        raise DvcProjectError(f"{project_dir}: no dvc.yaml there. Is project_dir the root of a DVC project?")
    definitions = [path for path in project_files(project_dir) if path.endswith((".dvc", "dvc.yaml", ".dvcignore"))]
    cached = cache_dir / f"{_digest(project_dir, definitions)}.json"
    if (stages := _read_cached(cached, project_dir)) is not None:
        return stages
    answer = _describe(project_dir)
    stages = [StageSpec(**{**stage, "upstream": tuple(stage["upstream"])}) for stage in answer["stages"]]
    _write_cached(cached, stages, {path: _file_digest(project_dir / path) for path in answer["variable_files"]})
    return stages


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines() if path.is_file() else []


def _describe(project_dir: Path) -> dict:
    command = [sys.executable, "-m", "dvc_airflow.describe", str(project_dir)]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)}
    done = subprocess.run(command, capture_output=True, text=True, timeout=DESCRIBE_TIMEOUT, env=environment)
    if done.returncode:
        reason = done.stderr.strip().splitlines() or ["DVC gave no reason"]
        raise DvcProjectError(f"{project_dir}: " + "\n".join(reason[-20:]))
    return json.loads(done.stdout)


def _digest(project_dir: Path, paths: list[str]) -> str:
    whole = json.dumps([str(project_dir), *((path, _file_digest(project_dir / path)) for path in paths)])
    return hashlib.sha256(whole.encode()).hexdigest()


def _file_digest(path: Path) -> str | None:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None


def _read_cached(cached: Path, project_dir: Path) -> list[StageSpec] | None:
    try:
        entry = json.loads(cached.read_text(encoding="utf-8"))
        if any(_file_digest(project_dir / path) != digest for path, digest in entry["variable_files"].items()):
            return None
        return [StageSpec(**{**stage, "upstream": tuple(stage["upstream"])}) for stage in entry["stages"]]
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _write_cached(cached: Path, stages: list[StageSpec], variable_files: dict[str, str | None]) -> None:
    cached.parent.mkdir(parents=True, exist_ok=True)
    part = cached.with_suffix(f".{os.getpid()}.part")
    part.write_text(json.dumps({"stages": [asdict(stage) for stage in stages], "variable_files": variable_files}))
    os.replace(part, cached)
