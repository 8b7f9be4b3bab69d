"""How the project's files get into a workspace: small ones are copied, large ones share their blocks where they can."""

import fcntl
import logging
import os
import re
import shutil
import time
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from dvc_airflow.files import FileState, replacing, state_of
from dvc_airflow.lockfile import digest

log = logging.getLogger(__name__)

LARGE = 1024 * 1024  # bytes, from which a copy for each task is worth avoiding
FOLDER = "airflow/files"
LINKS = ".dvc/links"  # a second name of each linked file in a workspace, which no stage removes
PRIVATE = "private"  # marks a file that stages write to: each task gets a copy of its own
UNUSED_SECONDS = 30 * 24 * 3600  # after which a copy that no workspace has goes
FICLONE = 0x40049409  # ioctl_ficlone(2)
REFUSED_WRITE = re.compile(r"permission denied|PermissionError|read-?only", re.IGNORECASE)


class _Link(NamedTuple):
    name: str
    folder: Path
    kept: Path
    state: FileState | None


class Inputs:
    """Fills one workspace.

    A large file is cloned (reflink) where the file system can; else one read-only copy of it, in the shared cache, is
    hard-linked into each workspace. Only root can write to that copy: `spoiled` finds out.

    :param cache_dir: the cache that tasks share, if they do.
    """

    def __init__(self, cache_dir: Path | None) -> None:
        self._folder = cache_dir / FOLDER if cache_dir else None
        self._links: list[_Link] = []

    def put(self, source: Path, target: Path, workspace: Path) -> None:
        """Put a file into the workspace.

        :param target: is not there yet.
        :raises OSError: it cannot be read, or there is no room.
        """
        if source.stat().st_size < LARGE or not (
            _is_cloned(source, target) or self._is_linked(source, target, workspace)
        ):
            shutil.copy2(source, target)

    def spoiled(self, said: str = "") -> list[str]:
        """The inputs whose shared copies were written to, by any task, or that this stage was not allowed to write to.

        Their copies are given up: the next task gets its own.

        :param said: why the stage failed, if it did.
        """
        found = [link for link in self._links if state_of(link.kept) != link.state]
        if REFUSED_WRITE.search(said):
            found += [link for link in self._links if link.name in said] or self._links
        for link in found:
            with suppress(OSError):
                (link.folder / PRIVATE).touch()
        return sorted({link.name for link in found})

    def _is_linked(self, source: Path, target: Path, workspace: Path) -> bool:
        if self._folder is None:
            return False
        folder = self._folder / digest(str(source))
        kept = workspace / LINKS / str(len(self._links))
        try:
            if (folder / PRIVATE).exists():
                return False
            copy = self._copy(source, folder)
            kept.parent.mkdir(parents=True, exist_ok=True)
            os.link(copy, target)
            os.link(copy, kept)
        except OSError as error:  # another file system, no room, no right
            log.debug("%s is copied: %s", source, error)
            for path in (target, kept):
                path.unlink(missing_ok=True)
            return False
        self._links.append(_Link(source.name, folder, kept, state_of(kept)))
        return True

    def _copy(self, source: Path, folder: Path) -> Path:
        """The copy that tasks share of the file as it is now."""
        status = source.stat()
        copy = folder / digest([status.st_size, status.st_mtime_ns, status.st_ino])
        if state_of(copy) is None or (copy.stat().st_size, copy.stat().st_mtime_ns) != (
            status.st_size,
            status.st_mtime_ns,
        ):
            self._remove_unused()
            with replacing(copy) as part:
                shutil.copy2(source, part)
                part.chmod(status.st_mode & 0o555)
            for other in folder.iterdir():
                if other.name != copy.name and not other.name.startswith("."):
                    other.unlink(missing_ok=True)  # of an earlier version; who has a link to it keeps it
        return copy

    def _remove_unused(self) -> None:
        """Remove copies that no workspace has and that are old: a bundle has each version of a project elsewhere."""
        for folder in self._folder.iterdir() if self._folder and self._folder.is_dir() else ():
            with suppress(OSError):
                is_old = time.time() - folder.stat().st_mtime > UNUSED_SECONDS
                if is_old and all(file.stat().st_nlink == 1 for file in folder.iterdir()):
                    shutil.rmtree(folder, ignore_errors=True)


def _is_cloned(source: Path, target: Path) -> bool:
    with open(target, "xb") as writable:
        try:
            with open(source, "rb") as readable:
                fcntl.ioctl(writable, FICLONE, readable.fileno())
        except OSError:
            target.unlink()
            return False
    shutil.copystat(source, target)
    return True
