"""The objects in the remotes of an opened repo: which are there intact; push and fetch."""

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from dvc_airflow.dvc.cache import Cache, content_hash
from dvc_airflow.dvc.object import Object
from dvc_airflow.dvc.remote import remote_odb, translated_errors
from dvc_airflow.files import state_of

if TYPE_CHECKING:
    from dvc.repo import Repo
    from dvc_data.hashfile.db import HashFileDB

REQUESTS_AT_ONCE = 16
# A remote keeps its objects in 256 folders, by the hash's first byte: from here on, listing those is less to ask.
LIST_FROM = 256


class RemoteObjects:
    """What the remotes have, and what goes between them and the cache."""

    def __init__(self, repo: "Repo", cache: Cache) -> None:
        self._repo, self._cache = repo, cache
        self._odbs: dict[tuple[str | None, str], HashFileDB] = {}
        self._etag_is_md5 = True
        #: bytes of the objects that were found to be there, by hash
        self.sizes: dict[str, int] = {}

    def missing(self, objects: Iterable[Object]) -> list[Object]:
        """Ask for each object: which are not there, or not with the right size and content.

        :raises RemoteError: the remote cannot be asked.
        """
        wanted = list(dict.fromkeys(objects))
        if not wanted:
            return []
        with translated_errors(self._repo):
            found = [
                info
                for key in dict.fromkeys((one.remote, one.algorithm) for one in wanted)
                for info in self._infos([one for one in wanted if (one.remote, one.algorithm) == key])
            ]
            return [one for one, info in found if not self._is_right(one, info)]

    def fetch(self, objects: list[Object]) -> list[Object]:
        """Fetch objects into the cache. Not by DVC's own transfer: that tries all before it gives up on a remote.

        :return: those that are not there whole.
        :raises RemoteError: the remote does not answer.
        """
        with translated_errors(self._repo):
            for one in objects:
                self._odb(one)
            with ThreadPoolExecutor(REQUESTS_AT_ONCE) as pool:
                fetched = list(pool.map(self._fetch, objects))
        return [one for one, there in zip(objects, fetched, strict=True) if not there]

    def put(self, objects: list[Object]) -> None:
        """Put objects from the cache into the remote, over what may lie there. Lists of folders come last."""

        def put(one: Object) -> None:
            remote = self._odb(one)
            if self._cache.has(one):
                path = remote.oid_to_path(one.oid)
                remote.fs.makedirs(remote.fs.parent(path), exist_ok=True)
                remote.fs.put_file(self._cache.path(one), path)

        with translated_errors(self._repo):
            for is_list in (False, True):
                batch = [one for one in objects if one.oid.endswith(".dir") is is_list]
                for one in batch:
                    self._odb(one)
                with ThreadPoolExecutor(REQUESTS_AT_ONCE) as pool:
                    list(pool.map(put, batch))

    def _odb(self, one: Object) -> "HashFileDB":
        key = (one.remote, one.algorithm)
        if key not in self._odbs:
            self._odbs[key] = remote_odb(self._repo, one.remote, one.algorithm)
        return self._odbs[key]

    def _fetch(self, one: Object) -> bool:
        remote = self._odb(one)
        try:
            with self._cache.adding(one) as part:
                remote.fs.get_file(remote.oid_to_path(one.oid), str(part))
        except FileNotFoundError:
            return False
        return True

    def _infos(self, objects: list[Object]) -> list[tuple[Object, dict[str, Any] | None]]:
        """What one remote says of each object; None if it has none."""
        remote = self._odb(objects[0])
        paths = {one: remote.oid_to_path(one.oid) for one in objects}
        fs: Any = getattr(remote.fs, "fs", None)

        def info(path: str) -> dict[str, Any] | None:
            try:
                return dict(remote.fs.info(path))
            except FileNotFoundError:
                return None

        def listing(folder: str) -> dict[str, dict[str, Any]]:
            with suppress(FileNotFoundError):
                return dict(fs.find(folder, detail=True))
            return {}

        with ThreadPoolExecutor(REQUESTS_AT_ONCE) as pool:
            if len(objects) < LIST_FROM or remote.fs.protocol == "local":
                return list(zip(paths, pool.map(info, paths.values()), strict=True))
            folders = {remote.fs.parent(path) for path in paths.values()}
            known = {path: one for part in pool.map(listing, folders) for path, one in part.items()}
        return [(one, known.get(path)) for one, path in paths.items()]

    def _is_right(self, one: Object, info: dict[str, Any] | None) -> bool:
        if info is None:
            return False
        cached = state_of(self._cache.path(one))
        size = cached[0] if cached else one.size
        if size is not None and info.get("size") not in (None, size):
            return False
        self.sizes[one.oid] = info.get("size") or 0
        etag = str(info.get("ETag", "")).strip('"')
        if not self._etag_is_md5 or len(etag) != 32 or etag == one.hash or one.algorithm != "md5":
            return True
        # Not the md5: corrupted, or a store whose ETags are something else (encryption with a customer's key).
        remote = self._odb(one)
        if content_hash(remote, remote.oid_to_path(one.oid)) != one.hash:
            return False
        self._etag_is_md5 = False
        return True
