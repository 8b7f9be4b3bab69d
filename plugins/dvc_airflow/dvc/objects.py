"""The objects that outputs consist of: whether cache and remote have them intact."""

import logging
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from dvc_airflow.dvc.cache import Cache
from dvc_airflow.dvc.object import MissingObjectsError, Object
from dvc_airflow.dvc.remote import address, has_remote
from dvc_airflow.dvc.remote_objects import RemoteObjects
from dvc_airflow.files import FileStates

if TYPE_CHECKING:
    from dvc.output import Output
    from dvc.repo import Repo
    from dvc_data.hashfile.hash_info import HashInfo
    from dvc_data.hashfile.tree import Tree

log = logging.getLogger(__name__)


class Objects:
    """The objects of an opened repo's outputs, in its cache and its remotes.

    :param states: how cache files were when their content was last found to be right. Added to.
    :param only_read: see `dvc_airflow.dvc.cache.Cache`.
    """

    def __init__(self, repo: "Repo", states: FileStates | None = None, only_read: Path | None = None) -> None:
        self.repo = repo
        self.states = states or FileStates()
        self.cache = Cache(repo, self.states, only_read)
        self.remote = RemoteObjects(repo, self.cache)

    def of(self, out: "Output", subpath: str | None = None) -> list[Object]:
        """The objects of an output; a folder's list is expanded.

        :param subpath: a path inside a folder; then only what is there.
        :raises MissingObjectsError: the list of the folder is missing.
        """
        is_folder = out.hash_info.isdir
        whole = _object(out.hash_info, str(out), None if is_folder else out.meta.size, out.remote)
        if not is_folder:
            return [whole]
        prefix = out.fs.relparts(subpath, out.fs_path) if subpath and subpath != out.fs_path else ()
        return [whole, *_files(out, self.tree(out), tuple(prefix))]

    def tree(self, out: "Output") -> "Tree":
        """The list of a folder's files.

        :raises MissingObjectsError: it is missing from cache and remote.
        """
        from dvc_data.hashfile.tree import Tree

        listing = _object(out.hash_info, str(out), None, out.remote)
        self.fetch([listing], reread=False)
        return Tree.load(self.cache.odb(listing), out.hash_info)

    def missing(self, out: "Output", subpath: str | None = None) -> list[Object]:
        """Which objects of the output neither the cache nor the remote has whole.

        :param subpath: a path inside a folder; then only what is there.
        """
        try:
            objects = self.of(out, subpath)
        except MissingObjectsError as error:
            return error.objects
        missing = [one for one in objects if not self.cache.has(one)]
        return self.remote.missing(missing) if has_remote(self.repo) else missing

    def fetch(self, objects: Iterable[Object], *, reread: bool = True) -> None:
        """Fetch the objects that the cache does not have intact.

        :param reread: hash also what looks as it did when it was last found to be right.
        :raises MissingObjectsError: the remote does not have them whole either.
        """
        missing = [one for one in dict.fromkeys(objects) if not self.cache.holds(one, reread=reread)]
        if missing and has_remote(self.repo):
            missing = self.remote.fetch(missing)
        if missing:
            raise MissingObjectsError(missing)

    def push(self, objects: Iterable[Object]) -> None:
        """Push these objects, and prove that the remote has them.

        :raises MissingObjectsError: neither the cache nor the remote has them whole.
        """
        if missing := self.remote.missing(objects):
            log.info("Pushing to %s the objects it still lacks: %s", address(self.repo), len(missing))
            self.remote.put(missing)
            if missing := self.remote.missing(missing):
                raise MissingObjectsError(missing)

    def read(self, out: "Output") -> bytes:
        """The content of a file output.

        :raises MissingObjectsError: it is missing from cache and remote.
        """
        (one,) = self.of(out)
        self.fetch([one], reread=False)
        return self.cache.read(one)


def _object(info: "HashInfo", name: str, size: int | None, remote: str | None) -> Object:
    return Object(str(info.name), str(info.value), name, size, remote)


def _files(out: "Output", tree: "Tree", prefix: tuple[str, ...]) -> Iterator[Object]:
    for key, (meta, file) in tree.iteritems():
        if file and key[: len(prefix)] == prefix:
            yield _object(file, "/".join([str(out).rstrip("/"), *key]), meta and meta.size, out.remote)
