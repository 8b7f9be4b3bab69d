"""DVC's run-cache: which results are known of a stage with the same inputs, in the cache and in the remote."""

import logging
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dvc_airflow.dvc.remote import has_remote, remote_odb, translated_errors
from dvc_airflow.files import replacing
from dvc_airflow.lockfile import LockEntry

if TYPE_CHECKING:
    from dvc.repo import Repo

log = logging.getLogger(__name__)


class RunCache:
    """The run-cache of an opened repo.

    :param only_read: another cache, whose entries are read in place of those of the repo's. Nothing is written then.
    """

    def __init__(self, repo: "Repo", only_read: Path | None = None) -> None:
        self._repo, self._only_read = repo, only_read

    def entries(self, key: str) -> Iterator[LockEntry]:
        """Results of the same inputs, newest first; several where a stage is not deterministic.

        Those in the cache, then, by one listing of the key's folder, those in the remote. Moves no data.

        :raises RemoteError: the remote cannot be asked.
        """
        whole = set()
        for file in _newest_first(self._folder(key)):
            if entry := _checked(key, file.name, file.read_bytes(), "cache"):
                whole.add(file.name)
                yield entry
        if has_remote(self._repo):
            for name, text in self._remote_entries(key, whole):
                if entry := _checked(key, name, text, "remote"):
                    self._keep(key, name, text)
                    yield entry

    def names(self, key: str) -> frozenset[str]:
        """The names of the entries that the cache has."""
        return frozenset(file.name for file in _newest_first(self._folder(key)))

    def push(self, entries: Iterable[LockEntry]) -> list[str]:
        """Copy the run-cache entries that these lock entries stand for to the remote: one small object each.

        `dvc push --run-cache` would copy all that the cache has ever seen.

        :return: their paths in the remote.
        """
        pushed = []
        from dvc.stage.cache import _get_cache_hash

        with translated_errors(self._repo):
            remote = remote_odb(self._repo, algorithm="md5-dos2unix")
            for entry in entries:
                key, name = _get_cache_hash({**entry}, key=True), _get_cache_hash({**entry})
                local = self._path(key, name)
                if local.exists():
                    folder = _remote_folder(remote, key)
                    remote.fs.makedirs(folder, exist_ok=True)
                    path = str(remote.fs.join(folder, name))
                    remote.fs.put_file(str(local), path)
                    pushed.append(path)
        return pushed

    def _folder(self, key: str) -> Path:
        own = Path(self._repo.stage_cache._get_cache_dir(key))
        return self._only_read / own.relative_to(self._repo.cache.legacy.path) if self._only_read else own

    def _path(self, key: str, name: str) -> Path:
        return Path(self._repo.stage_cache._get_cache_path(key, name))

    def _remote_entries(self, key: str, known: set[str]) -> Iterator[tuple[str, bytes]]:
        with translated_errors(self._repo):
            remote = remote_odb(self._repo, algorithm="md5-dos2unix")
            found = list(remote.fs.find(_remote_folder(remote, key)))
            if len(found) > 1:
                found.sort(key=lambda path: _written_at(remote.fs.info(path)), reverse=True)
            for path in found:
                if (name := remote.fs.name(path)) not in known:
                    yield name, remote.fs.cat_file(path)

    def _keep(self, key: str, name: str, text: bytes) -> None:
        """Take an entry over from the remote into the cache."""
        if self._only_read:
            return
        local = self._path(key, name)
        # Not beside the entries: DVC takes every file there for one, and removes what it cannot read.
        with replacing(local, parts=local.parent.parent) as part:
            part.write_bytes(text)


def _checked(key: str, name: str, text: bytes, where: str) -> LockEntry | None:
    """The entry, unless it was truncated or changed: its name is its hash."""
    from dvc.stage.cache import _get_cache_hash
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        entry = dict(YAML(typ="safe", pure=True).load(text))
        right = _get_cache_hash({**entry}) == name and _get_cache_hash({**entry}, key=True) == key
    except (YAMLError, TypeError, ValueError, KeyError, AttributeError):
        right = False
    if not right:
        log.warning("Run-cache entry %s/%s in the %s was truncated or changed; not used", key, name, where)
        return None
    return entry


def _remote_folder(remote: Any, key: str) -> str:
    """Where the remote has the run-cache entries of a key."""
    return str(remote.fs.join(remote.path, "runs", key[:2], key))


def _written_at(info: Any) -> float:
    at = info.get("LastModified") or info.get("mtime") or 0
    return at.timestamp() if isinstance(at, datetime) else float(at)


def _newest_first(folder: Path) -> list[Path]:
    """The entries of a key's folder. DVC writes new ones there too, under other names, and renames them."""
    found = []
    for file in folder.iterdir() if folder.is_dir() else []:
        if re.fullmatch("[0-9a-f]{64}", file.name):
            with suppress(FileNotFoundError):
                found.append((file.stat().st_mtime, file))
    return [file for _, file in sorted(found, reverse=True)]
