"""Finds a stage's result without DVC: by what an earlier look-up, with exactly the same files, came to.

Importing DVC and resolving a project takes most of a second, and a task that restores its result needs neither.
DVC remains the judge: whatever is not exactly as it was then is left to it.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any
from uuid import uuid4

from dvc_airflow.history import CacheFolder, digest
from dvc_airflow.lock import Lock
from dvc_airflow.objects import Stamp, stamp_of
from dvc_airflow.project import project_files


@dataclass(frozen=True)
class Known:
    """What a look-up came to.

    ``inputs`` and ``entry`` are lock entries without and with outputs, ``lock_file`` is where they belong, ``stamps``
    are those of all objects in the cache, and ``published`` is the content of the published outputs, by path.
    """

    inputs: dict[str, Any]
    entry: dict[str, Any]
    lock_file: str
    stamps: dict[str, Stamp]
    published: dict[str, str]


class Shortcut:
    """The results that are known in a shared cache.

    :param project_dir: the project, or a fresh copy of it.
    :param definitions: the project's files from which DVC works out the stages (dvc.yaml, its vars, ...).
    :param files: texts that take the place of the project's own files.
    :param lock: the entries of the stages before.
    """

    def __init__(
        self,
        cache_dir: Path,
        project_dir: Path,
        stage: str,
        definitions: Iterable[str],
        files: Mapping[str, str],
        lock: Lock,
    ) -> None:
        self._folder, self._project_dir, self._files = CacheFolder(cache_dir), project_dir, files
        made = [[entry.get("outs") for entry in stages.values()] for stages in lock.values()]
        own = [[name, self._hash(name)] for name in sorted({*definitions, *files})]
        self._situation = digest([version("dvc"), stage, own, made])

    def find(self) -> Known | None:
        """The result of the same situation, if its objects still lie in the cache as they did."""
        try:
            read = json.loads(self._folder.read("reads", self._situation))
            known = Known(**json.loads(self._folder.read("known", self.name(read))))
        except (OSError, ValueError, TypeError):
            return None
        return known if all(stamp_of(path) == stamp for path, stamp in known.stamps.items()) else None

    def keep(self, reads: Sequence[str], name: str, known: Known) -> None:
        """Remember what a look-up came to.

        :param reads: the project's own files and folders that the stage depends on.
        :param name: of `name`, as it was before the stage ran.
        """
        try:
            self._folder.write(json.dumps(list(reads)).encode(), "reads", self._situation)
            self._folder.write(json.dumps(asdict(known)).encode(), "known", name)
        except OSError:
            return  # a full or read-only cache costs time, not the run

    def name(self, reads: Sequence[str]) -> str:
        """Of the situation, with the content of these files and folders as it is now."""
        return digest([self._situation, [[name, self._hash(name)] for name in reads]])

    def _hash(self, name: str) -> Any:
        """Of a file, or of all files of a folder; None if it is not there."""
        if name in self._files:
            return hashlib.sha256(self._files[name].encode()).hexdigest()
        path = self._project_dir / name
        if any(part.is_symlink() and part.is_dir() for part in (path, *path.parents[: len(Path(name).parts) - 1])):
            return uuid4().hex  # what lies behind a link to a folder is not looked at: nothing is known of it
        if path.is_dir():
            return [
                [file, self._hash(file)] for file in project_files(self._project_dir) if file.startswith(f"{name}/")
            ]
        try:
            with open(path, "rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest()
        except OSError:
            return None
