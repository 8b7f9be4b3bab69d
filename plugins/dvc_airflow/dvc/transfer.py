"""How objects get into and out of a remote: by DVC's own client of it, whatever it is. See `streams` for S3."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

if TYPE_CHECKING:
    from dvc_objects.fs.base import FileSystem

REQUESTS_AT_ONCE = 16


class Found(NamedTuple):
    """What a remote says of an object. A folder on a disk has no ETags."""

    size: int | None
    etag: str


class Transfer(Protocol):
    """Objects in a remote, by their paths there."""

    #: whether a listing of a folder is one request, and so less than a request for each of many objects in it
    is_listed: bool

    def info(self, path: str) -> Found | None:
        """What the remote says of an object; None if there is none."""

    def listing(self, folder: str) -> dict[str, Found]:
        """All objects below a folder, by path."""

    def get(self, path: str, file: Path) -> None:
        """Write an object into a file.

        :raises FileNotFoundError: there is none.
        """

    def put(self, files: Sequence[tuple[str, str]]) -> None:
        """Put files into the remote, each with its path there, over what may lie there."""

    def end(self) -> None:
        """End `put`, from another thread, if it would not end by itself when the remote falls silent."""


class DvcTransfer:
    """By DVC's client."""

    def __init__(self, fs: "FileSystem") -> None:
        self._fs: Any = fs
        self.is_listed = fs.protocol != "local"

    def info(self, path: str) -> Found | None:
        """See `Transfer`."""
        try:
            return _found(self._fs.info(path))
        except FileNotFoundError:
            return None

    def listing(self, folder: str) -> dict[str, Found]:
        """See `Transfer`."""
        with suppress(FileNotFoundError):
            return {path: _found(one) for path, one in self._fs.fs.find(folder, detail=True).items()}
        return {}

    def get(self, path: str, file: Path) -> None:
        """See `Transfer`."""
        self._fs.get_file(path, str(file))

    def put(self, files: Sequence[tuple[str, str]]) -> None:
        """See `Transfer`."""

        def put(one: tuple[str, str]) -> None:
            file, path = one
            self._fs.makedirs(self._fs.parent(path), exist_ok=True)
            self._fs.put_file(file, path)

        with ThreadPoolExecutor(REQUESTS_AT_ONCE) as pool:
            list(pool.map(put, files))

    def end(self) -> None:
        """See `Transfer`. This client has time-outs."""


def _found(info: dict[str, Any]) -> Found:
    return Found(info.get("size"), str(info.get("ETag", "")).strip('"'))
