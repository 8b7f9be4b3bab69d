"""The DVC cache of an opened repo: which objects it has intact."""

import hashlib
import logging
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dvc_airflow.dvc.object import Object
from dvc_airflow.files import FileStates, replacing, state_of
from dvc_airflow.history import FOLDER

if TYPE_CHECKING:
    from dvc.repo import Repo
    from dvc_data.hashfile.db import HashFileDB

log = logging.getLogger(__name__)

OBJECT_MODE = 0o444  # as DVC protects what is in its cache


class Cache:
    """The cache of an opened repo.

    :param states: how its files were when their content was last found to be right. Added to.
    :param only_read: another cache, whose objects count as those of this one. Nothing is written to it: what is
        corrupted stays there, and what DVC needs is copied from it.
    """

    def __init__(self, repo: "Repo", states: FileStates, only_read: Path | None = None) -> None:
        self._caches, self._states, self._only_read = repo.cache, states, only_read
        self._root = Path(repo.cache.local.path).parent.parent
        self._parts = self._root / FOLDER / "parts"

    def odb(self, one: Object) -> "HashFileDB":
        """Where DVC keeps objects of this one's hash algorithm."""
        odb: HashFileDB = self._caches.legacy if one.algorithm == "md5-dos2unix" else self._caches.local
        return odb

    def path(self, one: Object) -> str:
        """Where the cache has the object, or would have it."""
        return str(self.odb(one).oid_to_path(one.oid))

    def has(self, one: Object, *, reread: bool = False) -> bool:
        """Whether the cache has the object; a corrupted one is removed from there.

        :param reread: hash its content even if the file looks as it did when it was last found to be right.
        """
        if self._only_read and self._found(one, self._beside(one, self._only_read), reread=reread) == one.hash:
            return True
        path = self.path(one)
        state, found = state_of(path), self._found(one, path, reread=reread)
        if found in (None, one.hash):
            return found is not None
        if state_of(path) != state:  # another task has put it right meanwhile
            return self.has(one, reread=True)
        log.warning("%s is corrupted in the cache (%s holds %s); removed there", one.name, path, found)
        with suppress(FileNotFoundError):
            Path(path).unlink()
        return False

    def holds(self, one: Object, *, reread: bool = False) -> bool:
        """As `has`; what only the other cache has is copied here."""
        if not self.has(one, reread=reread):
            return False
        if self._only_read and state_of(self.path(one)) is None:
            try:
                with self.adding(one) as part:
                    shutil.copyfile(self._beside(one, self._only_read), part)
            except FileNotFoundError:  # removed meanwhile
                return False
        return True

    def _beside(self, one: Object, other: Path) -> str:
        """Where another cache has the object, or would have it."""
        return str(other / Path(self.path(one)).relative_to(self._root))

    def _found(self, one: Object, path: str, *, reread: bool) -> str | None:
        """The hash of what lies at a path; None if nothing does. What is as it was when it was right is not read."""
        state = state_of(path)
        if state is None:
            return None
        if not reread and self._states.is_unchanged(path):
            return one.hash
        try:
            found = content_hash(self.odb(one), path, one.algorithm)
        except FileNotFoundError:
            return None
        if found == one.hash:
            self._states.remember(path, state)
        return found

    @contextmanager
    def adding(self, one: Object) -> Iterator[Path]:
        """Give the path of a new file, to be filled with the object in the block.

        :raises FileNotFoundError: the block wrote something else.
        """
        target = Path(self.path(one))
        with replacing(target, self._parts) as part:
            yield part
            found = content_hash(self.odb(one), str(part), one.algorithm)
            if found != one.hash:
                log.warning("%s is corrupted in the remote (%s is %s there)", one.name, one.oid, found)
                raise FileNotFoundError(one.oid)  # not there as it should be, which is as bad as not there
            part.chmod(OBJECT_MODE)
        self._states.remember(str(target), state_of(target))

    def read(self, one: Object) -> bytes:
        """The content of an object that is there."""
        return Path(self.path(one)).read_bytes()


def content_hash(odb: "HashFileDB", path: str, algorithm: str = "md5") -> str:
    """The hash of a file's content, as DVC works it out."""
    if algorithm == "md5" and odb.fs.protocol == "local":  # the same, in a tenth of the time for a small file
        with open(path, "rb") as file:
            return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    from dvc_data.hashfile.hash import hash_file

    found: Any
    _, found = hash_file(path, odb.fs, algorithm)
    return str(found.value).partition(".")[0]
