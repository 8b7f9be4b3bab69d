"""The code of a run, as `dvc_airflow.code_store` keeps it below the DVC remote (neither room imports the other).

``airflow/code/ID.json`` lists the files; its hash is the id. ``ID.zip`` has the contents by their SHA-256, but for
those of a MiB and more, which are objects of their own, ``large/SHA256``.
"""

import hashlib
import json
import os
import shutil
import zlib
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from zipfile import BadZipFile, ZipFile

from include.errors import DataError
from include.store.client import body_of, translated_errors
from include.store.stored_objects import CHUNK, StoredObjects, inside_project

FORMAT = 1
FOLDER = "airflow/code"
LARGE = 1024 * 1024  # bytes
# What reading a damaged archive raises, by where the damage is: zipfile itself says BadZipFile only of some.
UNREADABLE = (BadZipFile, KeyError, ValueError, EOFError, OSError, RuntimeError, zlib.error)


@dataclass(frozen=True)
class CodeFile:
    """A file of the code. See `dvc_airflow.code_pack.PackedFile` for the fields."""

    sha256: str | None = None
    size: int = 0
    is_executable: bool = False
    link: str | None = None
    leads_to: str | None = None
    is_kept: bool = True


@dataclass(frozen=True)
class CodeList:
    """What a pack lists. ``files`` and ``inputs`` (what git ignores, named by hash) by path."""

    files: dict[str, CodeFile]
    inputs: dict[str, CodeFile]
    folders: list[str]
    dvc_config: str

    @property
    def named(self) -> dict[str, CodeFile]:
        """Those of which the pack has only the hash."""
        files = {path: file for path, file in self.files.items() if file.sha256 and not file.is_kept}
        return {**files, **self.inputs}


@dataclass
class Written:
    """What was written into a folder: the paths, and what the pack does not have."""

    files: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)


class StoredCode:
    """The code of one run, in the store.

    :param objects: of the DVC remote that the run pushed to.
    :param pack: the id.
    """

    def __init__(self, objects: StoredObjects, pack: str) -> None:
        self._objects, self._pack = objects, pack

    def read(self) -> CodeList:
        """What the pack lists.

        :raises DataError: it is gone, damaged, or of a version that this one does not know.
        """
        text = b"".join(self._content(f"{self._pack}.json"))
        if hashlib.sha256(text).hexdigest() != self._pack:
            raise self._damaged(f"{self._pack}.json")
        try:
            document = json.loads(text)
            if document["format"] != FORMAT:
                raise DataError(f"the code of that run has format {document['format']}; this version reads {FORMAT}.")
            files, inputs = (
                {inside_project(path): CodeFile(**file) for path, file in document[name].items()}
                for name in ("files", "inputs")
            )
            folders = [inside_project(path) for path in document["folders"]]
            return CodeList(files, inputs, folders, document["dvc_config"])
        except (ValueError, KeyError, TypeError, AttributeError):
            raise self._damaged(f"{self._pack}.json") from None

    def write_into(self, folder: Path) -> Written:
        """Write the code into an empty folder: bytes, executable bits, links, empty folders.

        :raises DataError: something is gone or damaged; the folder is then to be thrown away.
        """
        listed, written = self.read(), Written()
        for path in listed.folders:
            (folder / path).mkdir(parents=True, exist_ok=True)
        archive = folder / ".code.zip"
        self._fetch(f"{self._pack}.zip", archive)
        try:
            with self._opened(archive) as read:
                for path, file in listed.files.items():
                    if file.sha256 and file.is_kept and _target(path, file) not in listed.files:
                        self._write(read, folder / path, file)
                        written.files.append(path)
        finally:
            archive.unlink(missing_ok=True)
        if listed.dvc_config:
            (folder / ".dvc").mkdir(exist_ok=True)
            (folder / ".dvc" / "config").write_text(listed.dvc_config, encoding="utf-8")
            written.files.append(".dvc/config")
        for path, file in listed.files.items():  # last: nothing may be written through one
            if file.sha256 is None or _target(path, file) in listed.files:
                (written.files if _linked(folder, path, file) else written.left_out).append(path)
        written.left_out += listed.named
        return written

    @contextmanager
    def _opened(self, archive: Path) -> Iterator[Callable[[str], bytes]]:
        """What reads a content by its hash.

        :raises DataError: the archive is damaged.
        """
        damaged = self._damaged(f"{self._pack}.zip")
        try:
            opened = ZipFile(archive)
        except UNREADABLE:
            raise damaged from None

        def read(sha256: str) -> bytes:
            try:
                return opened.read(sha256)
            except UNREADABLE:
                raise damaged from None

        with opened:
            yield read

    def _write(self, read: Callable[[str], bytes], target: Path, file: CodeFile) -> None:
        target.parent.mkdir(parents=True, exist_ok=True)
        if file.size < LARGE:
            target.write_bytes(read(str(file.sha256)))
        else:
            self._fetch(f"large/{file.sha256}", target)
        if sha256_of(target) != file.sha256:
            raise self._damaged(target.name)
        if file.is_executable:
            target.chmod(target.stat().st_mode | (target.stat().st_mode & 0o444) >> 2)  # who may read it may run it

    def _fetch(self, name: str, target: Path) -> None:
        with open(target, "wb") as stream:
            stream.writelines(self._content(name))

    def _content(self, name: str) -> Iterator[bytes]:
        key = f"{self._objects.prefix}/{FOLDER}/{name}"
        with translated_errors(self._objects.runtime, f"s3://{self._objects.bucket}/{key}"):
            body = body_of(self._objects.s3, self._objects.bucket, key)
            if body is None:
                raise DataError(f"the code of that run is not in the store: s3://{self._objects.bucket}/{key} is gone.")
            with closing(body):
                yield from body.iter_chunks(CHUNK)

    def _damaged(self, name: str) -> DataError:
        where = f"s3://{self._objects.bucket}/{self._objects.prefix}/{FOLDER}"
        return DataError(f"the code of that run is damaged in the store: {name} in {where} has other content.")


def restore_code(code: StoredCode, folder: Path, *, force: bool = False) -> Written:
    """Bring back the code of a run: all of it, or nothing.

    :param force: overwrite files of a folder that is not empty; what else is there stays.
    :raises DataError: it is not whole in the store, or the folder is not empty; nothing was changed.
    """
    folder = folder.resolve()
    if folder.exists() and not folder.is_dir():
        raise DataError(f"{folder} is not a folder. Choose another with --to DIR")
    if folder.exists() and any(folder.iterdir()) and not force:
        raise DataError(f"{folder} is not empty. Choose an empty folder with --to DIR, or overwrite with --force.")
    folder.parent.mkdir(parents=True, exist_ok=True)
    stage = folder.with_name(f".{folder.name}.{os.urandom(4).hex()}.part")
    stage.mkdir()
    try:
        written = code.write_into(stage)
        if folder.exists() and any(folder.iterdir()):
            _replace(stage, folder)
        else:
            os.replace(stage, folder)
    finally:
        shutil.rmtree(stage, ignore_errors=True)
    return written


def sha256_of(file: Path) -> str | None:
    """The SHA-256 of a file's content; None if there is none."""
    try:
        with open(file, "rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except FileNotFoundError:
        return None


def _target(path: str, file: CodeFile) -> str | None:
    """Where a link leads, as a path in the project; None: it is none, or leads out of the project."""
    if file.link is None and (file.leads_to is None or file.leads_to.startswith("/")):
        return None
    if file.link is None:
        return file.leads_to
    found = os.path.normpath(PurePosixPath(path).parent / file.link)
    return None if found.startswith(("/", "..")) else found


def _linked(folder: Path, path: str, file: CodeFile) -> bool:
    """Make a link. :return: whether it leads to something in the folder: another is not made."""
    if (target := _target(path, file)) is None:
        return False
    (folder / path).parent.mkdir(parents=True, exist_ok=True)
    (folder / path).symlink_to(file.link or os.path.relpath(target, PurePosixPath(path).parent))
    return True


def _replace(stage: Path, folder: Path) -> None:
    """Move what is in one folder over what is in another: all, or nothing."""
    olds = stage.with_suffix(".old")
    paths = [path.relative_to(stage) for path in stage.rglob("*") if path.is_symlink() or not path.is_dir()]
    _require_places(folder, paths)
    done: list[Path] = []
    try:
        for path in paths:
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (olds / path).parent.mkdir(parents=True, exist_ok=True)
            done.append(path)
            if os.path.lexists(folder / path):
                os.replace(folder / path, olds / path)
            os.replace(stage / path, folder / path)
    except BaseException:
        for path in done:
            if os.path.lexists(olds / path):
                os.replace(olds / path, folder / path)
            elif os.path.lexists(folder / path) and not os.path.lexists(stage / path):
                (folder / path).unlink()
        raise
    finally:
        shutil.rmtree(olds, ignore_errors=True)


def _require_places(folder: Path, paths: list[Path]) -> None:
    """Refuse what a folder takes the place of, and links that lead out."""
    for path in paths:
        target = folder / path
        if target.is_dir() and not target.is_symlink():
            raise DataError(f"{target} is a folder, and a file in that code. Choose an empty folder with --to DIR.")
        if not target.parent.resolve().is_relative_to(folder):
            raise DataError(f"{target.parent} is a link out of {folder}. Choose an empty folder with --to DIR.")
