"""What tasks that share a cache leave for each other, in its folder `airflow`: known results, file states, and locks.

Importing DVC and resolving a project takes most of a second, and a task that restores its result needs neither: it
finds the result by what an earlier look-up, with exactly the same files, found. DVC has the last word: whatever is not
exactly as it was then is left to it.
"""

import fcntl
import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any
from uuid import uuid4

from dvc_airflow.code_pack import CodePack
from dvc_airflow.files import FileState, state_of
from dvc_airflow.history import CacheFolder
from dvc_airflow.lockfile import Lock, LockEntry, digest, from_json, to_json


@dataclass(frozen=True)
class MemoEntry:
    """What a look-up found.

    ``inputs`` and ``entry`` are the lock entries before and after the stage ran, ``lock_file`` is where they belong,
    ``states`` are those of all objects in the cache, and ``published`` is the content of the published outputs by path.
    """

    inputs: LockEntry
    entry: LockEntry
    lock_file: str
    states: dict[str, FileState]
    published: dict[str, str]


@dataclass(frozen=True)
class MemoKey:
    """Under what a result is remembered.

    ``definition`` is the digest of what the stage is, ``sources`` are the project's own files and folders that it
    depends on, and ``content`` is the digest of both with what is in those.
    """

    definition: str
    sources: tuple[str, ...]
    content: str


class Fingerprint:
    """Of all that the result of a stage depends on.

    :param project_dir: the project, or a fresh copy of it.
    :param stage: its name.
    :param definitions: the project's files from which DVC works out the stages (dvc.yaml, its vars, ...).
    :param files: texts that take the place of the project's own files.
    :param lock: the entries of the stages before.
    :param content: gives the files that a workspace gets.
    :param pack: the code of the run, if it is packed: its hashes are taken then, and no file of the project is read.
    """

    def __init__(
        self,
        project_dir: Path,
        stage: str,
        definitions: Iterable[str],
        files: Mapping[str, str],
        lock: Lock,
        content: Callable[[], Sequence[str]],
        pack: CodePack | None = None,
    ) -> None:
        self._project_dir, self._files, self._content, self._pack = project_dir, files, content, pack
        made = [[entry.get("outs") for entry in stages.values()] for stages in lock.values()]
        own = [[name, self._hash(name)] for name in sorted({*definitions, *files})]
        #: of what the stage is, before it is known which files it depends on
        self.definition = digest([version("dvc"), stage, own, made])

    def with_sources(self, sources: Sequence[str]) -> MemoKey:
        """The key of the stage with the content of these files and folders as it is now.

        :param sources: the project's own files and folders that the stage depends on.
        """
        content = digest([self.definition, [[name, self._hash(name)] for name in sources]])
        return MemoKey(self.definition, tuple(sources), content)

    def _hash(self, name: str) -> Any:
        """Of a file, or of all files of a folder; None if it is not there."""
        if name in self._files:
            return hashlib.sha256(self._files[name].encode()).hexdigest()
        if self._pack is not None:
            return self._packed_hash(self._pack, name)
        path = self._project_dir / name
        if any(part.is_symlink() and part.is_dir() for part in (path, *path.parents[: len(Path(name).parts) - 1])):
            return uuid4().hex  # what lies behind a link to a folder is not looked at: nothing is known of it
        if path.is_dir():
            return [[file, self._hash(file)] for file in self._content() if file.startswith(f"{name}/")]
        try:
            with open(path, "rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest()
        except OSError:
            return None

    def _packed_hash(self, pack: CodePack, name: str) -> Any:
        if pack.is_behind_link(name):
            return uuid4().hex
        if file := pack.file(name):
            return file.sha256
        return [[file, self._hash(file)] for file in self._content() if file.startswith(f"{name}/")] or None


class Memo:
    """The memo in a shared cache. It only saves time: one that is full, read-only or broken knows nothing.

    :param cache_dir: None: tasks share no cache, and there is no memo.
    """

    def __init__(self, cache_dir: Path | None) -> None:
        self._folder = CacheFolder(cache_dir) if cache_dir else None

    def recall(self, fingerprint: Fingerprint) -> MemoEntry | None:
        """The known result, if its objects still lie in the cache as they did."""
        sources = self._read("sources", fingerprint.definition)
        if not isinstance(sources, list):
            return None
        try:
            entry = MemoEntry(**from_json(self._read("results", fingerprint.with_sources(sources).content)))
        except (TypeError, ValueError):  # nothing, or of another version
            return None
        return entry if all(state_of(path) == state for path, state in entry.states.items()) else None

    def keep(self, key: MemoKey, entry: MemoEntry) -> None:
        """Remember what a look-up found.

        :param key: as it was before the stage ran.
        """
        self._write(key.sources, "sources", key.definition)
        self._write(to_json(asdict(entry)), "results", key.content)

    def file_states(self, entry: LockEntry) -> dict[str, FileState]:
        """How an earlier task found the objects of this entry in the cache."""
        found = self._read("states", digest(entry))
        return found if isinstance(found, dict) else {}

    def keep_file_states(self, entry: LockEntry, states: Mapping[str, FileState]) -> None:
        """Remember how the objects of this entry lie in the cache."""
        self._write(states, "states", digest(entry))

    def pushed(self, key: str) -> dict[str, Any] | None:
        """What an earlier push left, see `dvc_airflow.push_memory`."""
        found = self._read("pushes", key)
        return found if isinstance(found, dict) else None

    def keep_pushed(self, key: str, content: Mapping[str, Any]) -> None:
        """Remember what a push proved."""
        self._write(content, "pushes", key)

    @contextmanager
    def exclusive(self, key: str) -> Iterator[bool]:
        """Hold the lock of a run-cache key, so that of several runs that need the same result one makes it.

        By flock: the kernel releases it when the process dies, however it dies. On a file system without flock nothing
        is locked, and the result may be made twice.

        :return: whether we had to wait for another.
        """
        if self._folder is None:
            yield False
            return
        file = self._folder.path / "locks" / key
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        except OSError:  # a cache that is full or read-only has no locks
            descriptor = None
        try:
            yield descriptor is not None and _waited(descriptor)
        finally:
            if descriptor is not None:
                os.close(descriptor)

    def _read(self, *names: str) -> Any:
        try:
            return json.loads(self._folder.read(*names)) if self._folder else None
        except (OSError, ValueError):
            return None

    def _write(self, content: Any, *names: str) -> None:
        if self._folder:
            with suppress(OSError):
                self._folder.write(json.dumps(content).encode(), *names)


def _waited(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        return True
    except OSError:
        pass
    return False
