"""The objects (content by its hash) that outputs consist of: whether cache and remote have them, unharmed."""

import logging
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dvc_airflow.atomic import replacing
from dvc_airflow.history import FOLDER
from dvc_airflow.remote import address, explained, remote_odb

if TYPE_CHECKING:
    from dvc.output import Output
    from dvc.repo import Repo
    from dvc_data.hashfile.db import HashFileDB
    from dvc_data.hashfile.hash_info import HashInfo
    from dvc_data.hashfile.tree import Tree

log = logging.getLogger(__name__)

REQUESTS_AT_ONCE = 16
CACHE_MODE = 0o444  # as DVC protects what is in its cache
# A remote keeps its objects in 256 folders, by the hash's first byte: from here on, listing those is less to ask.
LIST_FROM = 256
Stamp = list[int]  # size, mtime (ns) and inode of a cache file when its content was last found to be right


@dataclass(frozen=True)
class Object:
    """One object. ``name`` is for people; ``remote`` is the output's own remote, None for the default one."""

    algorithm: str
    oid: str
    name: str = field(compare=False)
    size: int | None = field(compare=False)
    remote: str | None = None


class LostError(Exception):
    """Objects that neither the cache nor the remote has whole.

    ``objects`` says which, ``maker`` which stage makes them (None: no stage does), see `dvc_airflow.outputs.whose`.
    """

    maker: str | None = None

    def __init__(self, objects: Iterable[Object]) -> None:
        self.objects = list(objects)
        names = ", ".join(one.name for one in self.objects[:10])
        more = f" and {len(self.objects) - 10} more" if len(self.objects) > 10 else ""
        super().__init__(f"{names}{more}: missing from the cache and the store, or corrupted there")


class Objects:
    """What the cache and the remotes of an opened repo have.

    :param stamps: what is known of cache files, by path; a file with its stamp unchanged is not read again. Updated.
    """

    def __init__(self, repo: "Repo", stamps: dict[str, Stamp] | None = None) -> None:
        self.repo = repo
        self.stamps = stamps if stamps is not None else {}
        self._remotes: dict[tuple[str | None, str], HashFileDB] = {}
        self._etag_is_md5 = True
        #: bytes of the objects that the remote was found to have, by hash
        self.sizes: dict[str, int] = {}

    @property
    def address(self) -> str:
        """Where the default remote is, for people."""
        return address(self.repo)

    @property
    def has_remote(self) -> bool:
        """Whether there is any default remote."""
        return bool(self.repo.config["core"].get("remote"))

    def of(self, out: "Output", part: str | None = None) -> list[Object]:
        """The objects of an output; a folder's list is expanded.

        :param part: a path inside a folder; then only what is there.
        :raises LostError: the list of the folder is nowhere.
        """
        whole = self._object(out.hash_info, str(out), out.meta.size if not out.hash_info.isdir else None, out.remote)
        if not out.hash_info.isdir:
            return [whole]
        tree, prefix = self.tree(out), out.fs.relparts(part, out.fs_path) if part and part != out.fs_path else None
        return [whole, *self._files(out, tree, prefix)]

    def tree(self, out: "Output") -> "Tree":
        """The list of a folder's files.

        :raises LostError: it is nowhere.
        """
        from dvc_data.hashfile.tree import Tree

        listing = self._object(out.hash_info, str(out), None, out.remote)
        self.bring([listing], reread=False)
        return Tree.load(self._cache(listing), out.hash_info)

    def lost(self, out: "Output") -> list[Object]:
        """Which objects of the output neither the cache nor the remote has whole."""
        try:
            objects = self.of(out)
        except LostError as error:
            return error.objects
        missing = [one for one in objects if not self.in_cache(one)]
        return self.absent_from_remote(missing) if self.has_remote else missing

    def in_cache(self, one: Object, *, reread: bool = False) -> bool:
        """Whether the cache has the object; a corrupted one is removed from there.

        :param reread: hash its content even if the file looks as it did when it was last found to be right.
        """
        path = self.cache_path(one)
        stamp = stamp_of(path)
        if stamp is None:
            return False
        if not reread and self.stamps.get(path) == stamp:
            return True
        try:
            found = self._content_hash(self._cache(one), path, one.algorithm)
        except FileNotFoundError:
            return False
        if found == one.oid.partition(".")[0]:
            self.stamps[path] = stamp
            return True
        if stamp_of(path) != stamp:  # another task has put it right meanwhile
            return self.in_cache(one, reread=True)
        log.warning("%s is corrupted in the cache (%s holds %s); removed there", one.name, path, found)
        with suppress(FileNotFoundError):
            Path(path).unlink()
        return False

    def bring(self, objects: Iterable[Object], *, reread: bool = True) -> None:
        """Have these objects in the cache, whole: fetch what is not there.

        :raises LostError: the remote does not have them whole either.
        """
        missing = [one for one in dict.fromkeys(objects) if not self.in_cache(one, reread=reread)]
        if not missing:
            return
        if self.has_remote:
            with explained(self.repo):
                for one in missing:
                    self._remote(one)
                with ThreadPoolExecutor(REQUESTS_AT_ONCE) as pool:
                    fetched = list(pool.map(self._fetch, missing))
            missing = [one for one, there in zip(missing, fetched, strict=True) if not there]
        if missing:
            raise LostError(missing)

    def absent_from_remote(self, objects: Iterable[Object]) -> list[Object]:
        """Ask the remote for each object: which are not there, or not with the right size and content.

        :raises RemoteError: it cannot be asked.
        """
        wanted = list(dict.fromkeys(objects))
        if not wanted:
            return []
        with explained(self.repo):
            found = [
                info
                for key in dict.fromkeys((one.remote, one.algorithm) for one in wanted)
                for info in self._infos([one for one in wanted if (one.remote, one.algorithm) == key])
            ]
            return [one for one, info in found if not self._is_right(one, info)]

    def push(self, objects: Iterable[Object]) -> None:
        """Put objects from the cache into the remote, over what may lie there. Lists of folders come last."""
        wanted = list(objects)
        log.info("Pushing to %s what it still lacks: %s objects", self.address, len(wanted))

        def put(one: Object) -> None:
            cache, remote = self._cache(one), self._remote(one)
            if self.in_cache(one):
                path = remote.oid_to_path(one.oid)
                remote.fs.makedirs(remote.fs.parent(path), exist_ok=True)
                remote.fs.put_file(cache.oid_to_path(one.oid), path)

        with explained(self.repo):
            for is_list in (False, True):
                batch = [one for one in wanted if one.oid.endswith(".dir") is is_list]
                for one in batch:
                    self._remote(one)
                with ThreadPoolExecutor(REQUESTS_AT_ONCE) as pool:
                    list(pool.map(put, batch))

    def read(self, out: "Output") -> bytes:
        """The content of a file output."""
        (one,) = self.of(out)
        self.bring([one], reread=False)
        with open(self._cache(one).oid_to_path(one.oid), "rb") as file:
            return file.read()

    def cache_path(self, one: Object) -> str:
        """Where the cache has the object, or would have it."""
        return str(self._cache(one).oid_to_path(one.oid))

    def _files(self, out: "Output", tree: "Tree", prefix: tuple[str, ...] | None) -> Iterator[Object]:
        for key, (meta, file) in tree.iteritems():
            if file and (prefix is None or key[: len(prefix)] == tuple(prefix)):
                yield self._object(file, "/".join([str(out).rstrip("/"), *key]), meta and meta.size, out.remote)

    @staticmethod
    def _object(info: "HashInfo", name: str, size: int | None, remote: str | None) -> Object:
        return Object(str(info.name), str(info.value), name, size, remote)

    def _cache(self, one: Object) -> "HashFileDB":
        caches = self.repo.cache
        cache: HashFileDB = caches.legacy if one.algorithm == "md5-dos2unix" else caches.local
        return cache

    def _remote(self, one: Object) -> "HashFileDB":
        key = (one.remote, one.algorithm)
        if key not in self._remotes:
            self._remotes[key] = remote_odb(self.repo, one.remote, one.algorithm)
        return self._remotes[key]

    def _fetch(self, one: Object) -> bool:
        """Fetch an object into the cache. Not by DVC's own transfer: that tries all before it gives up on a remote."""
        remote, target = self._remote(one), Path(self.cache_path(one))
        parts = Path(self.repo.cache.local.path).parent.parent / FOLDER / "parts"
        try:
            with replacing(target, parts) as part:
                remote.fs.get_file(remote.oid_to_path(one.oid), str(part))
                found = self._content_hash(self._cache(one), str(part), one.algorithm)
                if found != one.oid.partition(".")[0]:
                    log.warning("%s is corrupted in the remote (%s is %s there)", one.name, one.oid, found)
                    raise FileNotFoundError(one.oid)  # not there as it should be, which is as bad as not there
                part.chmod(CACHE_MODE)
        except FileNotFoundError:
            return False
        self.stamps[str(target)] = stamp_of(str(target)) or []
        return True

    def _infos(self, objects: list[Object]) -> list[tuple[Object, dict[str, Any] | None]]:
        """What one remote tells of each object; None if it has none."""
        remote = self._remote(objects[0])
        paths = {one: remote.oid_to_path(one.oid) for one in objects}
        fs: Any = getattr(remote.fs, "fs", None)

        def ask(path: str) -> dict[str, Any] | None:
            try:
                return dict(remote.fs.info(path))
            except FileNotFoundError:
                return None

        def listed(folder: str) -> dict[str, dict[str, Any]]:
            with suppress(FileNotFoundError):
                return dict(fs.find(folder, detail=True))
            return {}

        with ThreadPoolExecutor(REQUESTS_AT_ONCE) as pool:
            if len(objects) < LIST_FROM or remote.fs.protocol == "local":
                return list(zip(paths, pool.map(ask, paths.values()), strict=True))
            folders = {remote.fs.parent(path) for path in paths.values()}
            known = {path: info for part in pool.map(listed, folders) for path, info in part.items()}
        return [(one, known.get(path)) for one, path in paths.items()]

    def _is_right(self, one: Object, info: dict[str, Any] | None) -> bool:
        if info is None:
            return False
        remote = self._remote(one)
        path = remote.oid_to_path(one.oid)
        expected = stamp_of(self.cache_path(one))
        size = expected[0] if expected else one.size
        if size is not None and info.get("size") not in (None, size):
            return False
        self.sizes[one.oid] = info.get("size") or 0
        etag = str(info.get("ETag", "")).strip('"')
        if not self._etag_is_md5 or len(etag) != 32 or etag == one.oid[:32] or one.algorithm != "md5":
            return True
        # Not the md5: corrupted, or a store whose ETags are something else (encryption with a key of one's own).
        if self._content_hash(remote, path) != one.oid[:32]:
            return False
        self._etag_is_md5 = False
        return True

    @staticmethod
    def _content_hash(odb: "HashFileDB", path: str, algorithm: str = "md5") -> str:
        from dvc_data.hashfile.hash import hash_file

        _, found = hash_file(path, odb.fs, algorithm)
        return str(found.value).partition(".")[0]


def stamp_of(path: str) -> Stamp | None:
    """The stamp of a file as it is now; None if there is none."""
    try:
        status = Path(path).stat()
    except OSError:
        return None
    return [status.st_size, status.st_mtime_ns, status.st_ino]
