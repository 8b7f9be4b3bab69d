"""The bytes of a run, straight from the store: each object is hashed before it counts. Needs neither DVC nor MLflow.

DVC keeps a file's content at ``files/md5/<first two digits>/<rest>`` of its md5, and a folder as a JSON list of such
files under an md5 that ends in ``.dir``: https://dvc.org/doc/user-guide/project-structure/internal-files
"""

import hashlib
import json
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from include.errors import DataError
from include.lineage.manifest import FileRecord, Manifest
from include.settings import RuntimeSettings
from include.store import body_of, explained

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

REQUESTS_AT_ONCE = 8
CHUNK = 1024 * 1024  # bytes


@dataclass(frozen=True)
class StoredFile:
    """A file of a run, and the md5 of its content."""

    path: str
    md5: str


@dataclass(frozen=True)
class Damage:
    """An object that is not what it should be. ``found`` is the md5 of what is there; None if nothing is."""

    path: str
    md5: str
    key: str
    found: str | None

    def __str__(self) -> str:
        what = f"holds other bytes (md5 {self.found})" if self.found else "is gone"
        return f"{self.path}: object {self.key} {what}, wanted md5 {self.md5}"


class StoredObjects:
    """The objects of the DVC remote at ``s3://bucket/prefix``."""

    def __init__(self, s3: "S3Client", runtime: RuntimeSettings, bucket: str, prefix: str) -> None:
        self.s3, self.runtime, self.bucket, self.prefix = s3, runtime, bucket, prefix

    @classmethod
    def of(cls, manifest: Manifest, s3: "S3Client", runtime: RuntimeSettings) -> "StoredObjects":
        """Those of the remote that the run pushed to."""
        storage = manifest.config["storage"]
        return cls(s3, runtime, storage["bucket"], storage["prefix"])

    def key(self, md5: str) -> str:
        """The object's key in the bucket."""
        return f"{self.prefix}/files/md5/{md5[:2]}/{md5[2:]}"

    def read(self, path: str, md5: str) -> bytes:
        """The content of a small file.

        :raises DataError: it is gone, or not what it should be.
        """
        pieces: list[bytes] = []
        if damage := self._stream(StoredFile(path, md5), pieces.append):
            raise DataError(f"{damage}. {REMEDY}")
        return b"".join(pieces)

    def files(self, records: Iterable[FileRecord]) -> tuple[list[StoredFile], list[Damage]]:
        """All files of these outputs, folders expanded; and the lists of folders that cannot be read."""
        files, damages = [], []
        for record in records:
            if record.md5 is None:
                continue  # DVC hashes neither files outside nor those that it does not cache
            if not record.md5.endswith(".dir"):
                files.append(StoredFile(record.path, record.md5))
                continue
            pieces: list[bytes] = []
            damage = self._stream(StoredFile(record.path, record.md5), pieces.append)
            if damage:
                damages.append(damage)
            else:
                files += [_listed(record.path, item) for item in json.loads(b"".join(pieces))]
        return files, damages

    def check(self, files: Iterable[StoredFile], tell: Callable[[str], None] = lambda path: None) -> list[Damage]:
        """Read and hash every object; nothing is kept.

        :param tell: called with each path that is done.
        """

        def check(file: StoredFile) -> Damage | None:
            damage = self._stream(file, lambda piece: None)
            tell(file.path)
            return damage

        return [damage for damage in self._each(check, files) if damage]

    def fetch(
        self, files: Iterable[StoredFile], folder: Path, tell: Callable[[str], None] = lambda path: None
    ) -> list[Damage]:
        """Write every file into a folder, by its md5, unless it is damaged."""

        def fetch(file: StoredFile) -> Damage | None:
            part = folder / file.md5
            with open(part, "wb") as stream:
                damage = self._stream(file, stream.write)
            if damage:
                part.unlink()
            tell(file.path)
            return damage

        unique = {file.md5: file for file in files}
        return [damage for damage in self._each(fetch, unique.values()) if damage]

    def _each(self, do: Callable[[StoredFile], Damage | None], files: Iterable[StoredFile]) -> list[Damage | None]:
        with ThreadPoolExecutor(REQUESTS_AT_ONCE) as pool:
            return list(pool.map(do, files))

    def _stream(self, file: StoredFile, take: Callable[[bytes], Any]) -> Damage | None:
        key, digest = self.key(file.md5), hashlib.md5(usedforsecurity=False)
        with explained(self.runtime, f"{file.path} (s3://{self.bucket}/{key})"):
            body = body_of(self.s3, self.bucket, key)
            if body is None:
                return Damage(file.path, file.md5, f"s3://{self.bucket}/{key}", None)
            with closing(body):
                for piece in body.iter_chunks(CHUNK):
                    digest.update(piece)
                    take(piece)
        found = digest.hexdigest()
        if found == file.md5.removesuffix(".dir"):
            return None
        return Damage(file.path, file.md5, f"s3://{self.bucket}/{key}", found)


REMEDY = (
    "Nothing was changed here. Where a cache still has it, `dvc push` brings it back; else run that configuration "
    "again with `force`."
)


def refuse(damages: list[Damage]) -> None:
    """Stop at damaged objects.

    :raises DataError: names each of them.
    """
    if damages:
        raise DataError(f"{'; '.join(map(str, damages))}. {REMEDY}")


def _listed(folder: str, item: dict[str, Any]) -> StoredFile:
    """An item of a folder's list. Checked as the manifest's own paths are, for it becomes a path here."""
    record = FileRecord(stage="", role="output", path=f"{folder}/{item['relpath']}", md5=item["md5"], size=None)
    return StoredFile(record.path, str(record.md5))


def md5_of_file(path: Path) -> str | None:
    """The md5 of a file's content; None if there is none."""
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    except FileNotFoundError:
        return None
