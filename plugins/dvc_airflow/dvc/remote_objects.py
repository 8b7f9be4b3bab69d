"""The objects in the remotes of an opened repo: which are there intact; push and fetch."""

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from dvc_airflow.dvc.cache import Cache, content_hash
from dvc_airflow.dvc.object import Object
from dvc_airflow.dvc.remote import remote_odb, translated_errors, watched
from dvc_airflow.dvc.s3 import s3_client
from dvc_airflow.dvc.streams import Streams
from dvc_airflow.dvc.transfer import REQUESTS_AT_ONCE, DvcTransfer, Found, Transfer
from dvc_airflow.dvc.uploads import clear_uploads
from dvc_airflow.files import state_of

if TYPE_CHECKING:
    from dvc.repo import Repo
    from dvc_data.hashfile.db import HashFileDB

# A remote keeps its objects in 256 folders, by the hash's first byte: from here on, listing those is less to ask.
LIST_FROM = 256


class RemoteObjects:
    """What the remotes have, and what goes between them and the cache."""

    def __init__(self, repo: "Repo", cache: Cache) -> None:
        self._repo, self._cache = repo, cache
        self._odbs: dict[tuple[str | None, str], HashFileDB] = {}
        self._transfers: dict[tuple[str | None, str], Transfer] = {}
        # what was found to be right, by remote and path
        self._there: dict[tuple[str | None, str], dict[str, Found]] = {}
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
            missing = []
            for key, some in _by_remote(wanted).items():
                there = self._there.setdefault(key, {})
                for one, info in self._infos(some):
                    if info and self._is_right(one, info):
                        there[self._path(one)] = info
                    else:
                        missing.append(one)
            return missing

    def fetch(self, objects: list[Object]) -> list[Object]:
        """Fetch objects into the cache. Not by DVC's own transfer: that tries all before it gives up on a remote.

        :return: those that are not there whole.
        :raises RemoteError: the remote does not answer.
        """
        with translated_errors(self._repo):
            for one in objects:
                self._transfer(one)
            with ThreadPoolExecutor(REQUESTS_AT_ONCE) as pool:
                fetched = list(pool.map(self._fetch, objects))
        return [one for one, there in zip(objects, fetched, strict=True) if not there]

    def stream(self, objects: list[Object]) -> None:
        """Put objects from the cache into remotes that we have a client of our own for; leave the others to DVC.

        :raises RemoteError: the remote does not answer.
        """
        with translated_errors(self._repo):
            self.put([one for one in objects if isinstance(self._transfer(one), Streams)])

    def put(self, objects: list[Object]) -> None:
        """Put objects from the cache into the remote, over what may lie there. Lists of folders come last.

        :raises RemoteError: the remote does not answer, or falls silent.
        """
        with translated_errors(self._repo):
            with ThreadPoolExecutor(REQUESTS_AT_ONCE) as pool:
                intact = [one for one, has in zip(objects, pool.map(self._cache.has, objects), strict=True) if has]
            for is_list in (False, True):
                batch = [one for one in intact if one.oid.endswith(".dir") is is_list]
                for some in _by_remote(batch).values():
                    transfer = self._transfer(some[0])
                    with watched(self._repo, transfer.end, some[0].remote):
                        transfer.put([(self._cache.path(one), self._path(one)) for one in some])

    def clear_uploads(self) -> None:
        """Abort multipart uploads of objects that were found to be there: an earlier task was killed at those."""
        with translated_errors(self._repo):
            for key, paths in self._there.items():
                if self._odbs[key].fs.protocol == "s3":
                    clear_uploads(self._odbs[key].fs.fs, self._odbs[key].path, paths)

    def there(self, others: Iterable[str]) -> dict[str, Found] | None:
        """What was found to be right, and other files of the default remote, as it says of them now; by path.

        :return: None if a client that knows a remote by its options alone (`s3_client_by_options`) cannot be asked for
            it later: there is nothing, or it is not in the default remote, or that is not on S3.
        """
        default = [transfer for (remote, _), transfer in self._transfers.items() if remote is None]
        if any(remote for remote, _ in self._there) or not default or not isinstance(default[0], Streams):
            return None
        found = {path: info for some in self._there.values() for path, info in some.items()}
        with translated_errors(self._repo):
            for path in others:
                if info := default[0].info(path):
                    found[path] = info
        return found

    def _odb(self, one: Object) -> "HashFileDB":
        key = (one.remote, one.algorithm)
        if key not in self._odbs:
            self._odbs[key] = remote_odb(self._repo, one.remote, one.algorithm)
        return self._odbs[key]

    def _transfer(self, one: Object) -> Transfer:
        key = (one.remote, one.algorithm)
        if key not in self._transfers:
            odb = self._odb(one)
            client = s3_client(odb.fs, odb.path)
            self._transfers[key] = Streams(client) if client else DvcTransfer(odb.fs)
        return self._transfers[key]

    def _path(self, one: Object) -> str:
        return str(self._odb(one).oid_to_path(one.oid))

    def _fetch(self, one: Object) -> bool:
        try:
            with self._cache.adding(one) as part:
                self._transfer(one).get(self._path(one), part)
        except FileNotFoundError:
            return False
        return True

    def _infos(self, objects: list[Object]) -> list[tuple[Object, Found | None]]:
        """What one remote says of each object; None if it has none."""
        transfer = self._transfer(objects[0])
        paths = {one: self._path(one) for one in objects}
        with ThreadPoolExecutor(REQUESTS_AT_ONCE) as pool:
            if len(objects) < LIST_FROM or not transfer.is_listed:
                return list(zip(paths, pool.map(transfer.info, paths.values()), strict=True))
            folders = {path.rpartition("/")[0] for path in paths.values()}
            known = {path: one for part in pool.map(transfer.listing, folders) for path, one in part.items()}
        return [(one, known.get(path)) for one, path in paths.items()]

    def _is_right(self, one: Object, info: Found) -> bool:
        cached = state_of(self._cache.path(one))
        size = cached[0] if cached else one.size
        if size is not None and info.size not in (None, size):
            return False
        self.sizes[one.oid] = info.size or 0
        if not self._etag_is_md5 or len(info.etag) != 32 or info.etag == one.hash or one.algorithm != "md5":
            return True
        # Not the md5: corrupted, or a store whose ETags are something else (encryption with a customer's key).
        if content_hash(self._odb(one), self._path(one)) != one.hash:
            return False
        self._etag_is_md5 = False
        return True


def _by_remote(objects: Iterable[Object]) -> dict[tuple[str | None, str], list[Object]]:
    found: dict[tuple[str | None, str], list[Object]] = {}
    for one in objects:
        found.setdefault((one.remote, one.algorithm), []).append(one)
    return found
