"""The contents of packs on this machine, or in the cache that tasks share: whole files, checked when they are read.

A pack is two files, and further ones for its large contents: ``ID.json`` is the list, written last; ``ID.zip`` has the
contents by their hashes. To fill a workspace from it takes as long as to copy the files one by one, and it is one
request to fetch, where one object for each file would be hundreds in each task that shares no cache.
"""

import errno
import hashlib
import os
import shutil
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from zipfile import ZIP_DEFLATED, BadZipFile, ZipFile, ZipInfo

from dvc_airflow.code_pack import LARGE, CodePack, PackedFile, pack_id
from dvc_airflow.errors import ChangingCodeError, WorkspaceError
from dvc_airflow.file_hashes import FileHashes, sha256_of
from dvc_airflow.files import replacing
from dvc_airflow.history import FOLDER, CacheFolder
from dvc_airflow.warm.start import private_folder

CODE = "code"
UNUSED_SECONDS = 24 * 3600  # after which a pack of a machine whose tasks share no cache is removed there
# What reading a damaged archive raises, by where the damage is: zipfile itself says BadZipFile only of some.
UNREADABLE = (BadZipFile, KeyError, ValueError, EOFError, OSError, RuntimeError, zlib.error)


class DamagedError(Exception):
    """A content is missing, or not what it should be."""


class LocalCode:
    """Packs in a folder.

    :param cache_dir: the cache that tasks share; None: a folder of this user on this machine.
    :raises WorkspaceError: the folder cannot be created.
    """

    def __init__(self, cache_dir: Path | None) -> None:
        if cache_dir:
            self.path = cache_dir / FOLDER / CODE
            self.hashes = FileHashes(CacheFolder(cache_dir))
            return
        try:
            base = private_folder(Path(tempfile.gettempdir()) / f"dvc_airflow-code-{os.getuid()}")
        except OSError as error:
            raise WorkspaceError(f"the code of a run cannot be kept on this machine: {error}. Set TMPDIR.") from None
        self.path = base / FOLDER / CODE
        self.hashes = FileHashes(CacheFolder(base))
        self._remove_unused()

    def listing(self, pack: str) -> bytes | None:
        """The list of a pack; None if there is none that is right."""
        with suppress(OSError):
            text = (self.path / listing_name(pack)).read_bytes()
            for name in (listing_name(pack), archive_name(pack)):
                with suppress(FileNotFoundError):
                    os.utime(self.path / name)  # see _remove_unused
            return text if pack_id(text) == pack else None
        return None

    @contextmanager
    def archive(self, pack: str) -> Iterator[Callable[[str], bytes]]:
        """What reads a content by its hash.

        :raises DamagedError: it is missing, or damaged.
        """
        try:
            archive = ZipFile(self.path / archive_name(pack))
        except UNREADABLE as error:
            raise DamagedError(error) from None

        def read(sha256: str) -> bytes:
            try:
                content = archive.read(sha256)
            except UNREADABLE as error:
                raise DamagedError(error) from None
            if hashlib.sha256(content).hexdigest() != sha256:
                raise DamagedError(sha256)
            return content

        with archive:
            yield read

    def large(self, sha256: str) -> Path:
        """The file with a large content.

        :raises DamagedError: it is missing, or damaged.
        """
        file = self.path / large_name(sha256)
        try:
            if self.hashes.of(file) == sha256:
                return file
        except OSError as error:
            raise DamagedError(error) from None
        raise DamagedError(file)

    def is_whole(self, pack: str, listed: CodePack) -> bool:
        """Whether all contents of a pack are there and right."""
        try:
            with self.archive(pack) as read:
                for sha256 in small_contents(listed):
                    read(sha256)
            for sha256 in large_contents(listed):
                self.large(sha256)
        except DamagedError:
            return False
        return True

    def write(self, listed: CodePack, text: bytes, project_dir: Path) -> None:
        """Keep a pack, from the files of the project.

        :raises ChangingCodeError: they are not as they were when they were packed.
        :raises WorkspaceError: they cannot be kept.
        """
        pack = pack_id(text)
        files = {file.sha256: path for path, file in listed.files.items() if file.sha256 and file.is_kept}
        with _kept_in(self.path):
            with replacing(self.path / archive_name(pack)) as part, ZipFile(part, "w", ZIP_DEFLATED) as archive:
                for sha256 in small_contents(listed):
                    info = ZipInfo(sha256)
                    info.compress_type = ZIP_DEFLATED
                    archive.writestr(info, _read(project_dir / files[sha256], sha256))
            for sha256 in large_contents(listed):
                self._write_large(project_dir / files[sha256], sha256)
            self.add(listing_name(pack), lambda part: part.write_bytes(text))

    def add(self, name: str, write: Callable[[Path], object]) -> None:
        """Put a file there, whole or not at all.

        :param write: writes it.
        :raises WorkspaceError: it cannot be kept.
        """
        with _kept_in(self.path), replacing(self.path / name) as part:
            write(part)

    def _write_large(self, source: Path, sha256: str) -> None:
        with suppress(DamagedError):
            self.large(sha256)
            return

        def copy(part: Path) -> None:
            shutil.copyfile(source, part)
            if sha256_of(part) != sha256:
                raise _changed(source)

        try:
            self.add(large_name(sha256), copy)
        except FileNotFoundError:
            raise _changed(source) from None

    def _remove_unused(self) -> None:
        for file in self.path.rglob("*"):
            with suppress(OSError):
                if file.is_file() and time.time() - file.stat().st_mtime > UNUSED_SECONDS:
                    file.unlink()


def listing_name(pack: str) -> str:
    """The name of the list of a pack, below the folder of the code."""
    return f"{pack}.json"


def archive_name(pack: str) -> str:
    """The name of the archive with the small contents of a pack."""
    return f"{pack}.zip"


def large_name(sha256: str) -> str:
    """The name of a large content."""
    return f"large/{sha256}"


def small_contents(listed: CodePack) -> list[str]:
    """The hashes of what is in the archive of a pack."""
    return sorted({file.sha256 for file in _kept(listed) if file.sha256 and file.size < LARGE})


def large_contents(listed: CodePack) -> list[str]:
    """The hashes of what is kept by itself."""
    return sorted({file.sha256 for file in _kept(listed) if file.sha256 and file.size >= LARGE})


def _kept(listed: CodePack) -> Iterator[PackedFile]:
    return (file for file in listed.files.values() if file.is_kept)


def _read(file: Path, sha256: str) -> bytes:
    try:
        content = file.read_bytes()
    except FileNotFoundError:
        raise _changed(file) from None
    if hashlib.sha256(content).hexdigest() != sha256:
        raise _changed(file)
    return content


def _changed(file: Path) -> ChangingCodeError:
    return ChangingCodeError(f"{file} was changed while it was packed for this run. The next try packs it anew.")


@contextmanager
def _kept_in(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        remedy = "Free some space there." if full else "Check that folder."
        raise WorkspaceError(
            f"the code of this run cannot be kept in {folder}: {error.strerror or error}. {remedy}"
        ) from None
