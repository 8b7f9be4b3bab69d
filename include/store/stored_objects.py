"""The objects that DVC keeps, straight from the store: each is hashed before it counts. Needs neither DVC nor MLflow.

DVC keeps a file's content at ``files/md5/<first two digits>/<rest>`` of its md5, and a folder as a JSON list of such
files under an md5 that ends in ``.dir``: https://dvc.org/doc/user-guide/project-structure/internal-files
"""

import hashlib
import json
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Annotated, Any, Protocol

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from include.errors import DataError
from include.settings import RuntimeSettings
from include.store.client import body_of, translated_errors

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

REQUESTS_AT_ONCE = 8
CHUNK = 1024 * 1024  # bytes


def inside_project(path: str) -> str:
    """What came over a network: no path in it may lead out of the project."""
    pure = PurePosixPath(path)
    if pure.is_absolute() or ".." in pure.parts:
        raise ValueError("is outside the project")
    return path


ProjectPath = Annotated[str, AfterValidator(inside_project)]
Md5 = Annotated[str, Field(pattern=r"^[0-9a-f]{32}(\.dir)?$")]


class Output(Protocol):
    """A file or folder (its md5 ends in ``.dir``) that a stage made; None: DVC did not hash it."""

    @property
    def path(self) -> str: ...  # noqa: D102
    @property
    def md5(self) -> str | None: ...  # noqa: D102


class StoredFile(BaseModel):
    """A file, and the md5 of its content."""

    model_config = ConfigDict(frozen=True)

    path: ProjectPath
    md5: Md5


@dataclass(frozen=True)
class Damage:
    """An object that is not what it should be. ``found`` is the md5 of what is there; None if nothing is."""

    path: str
    md5: str
    key: str
    found: str | None

    def __str__(self) -> str:
        what = f"has different content (md5 {self.found})" if self.found else "is gone"
        return f"{self.path}: object {self.key} {what}, expected md5 {self.md5}"


class StoredObjects:
    """The objects of the DVC remote at ``s3://bucket/prefix``."""

    def __init__(self, s3: "S3Client", runtime: RuntimeSettings, bucket: str, prefix: str) -> None:
        self.s3, self.runtime, self.bucket, self.prefix = s3, runtime, bucket, prefix

    def key(self, md5: str) -> str:
        """The object's key in the bucket."""
        return f"{self.prefix}/{object_path(md5)}"

    def read(self, path: str, md5: str) -> bytes:
        """The content of a small file.

        :raises DataError: it is gone, or not what it should be.
        """
        pieces: list[bytes] = []
        if damage := self._stream(StoredFile(path=path, md5=md5), pieces.append):
            raise DataError(f"{damage}. {REMEDY}")
        return b"".join(pieces)

    def files(self, outputs: Iterable[Output]) -> tuple[list[StoredFile], list[Damage]]:
        """All files of these outputs, folders expanded; and the lists of folders that cannot be read."""
        files, damages = [], []
        for output in outputs:
            if output.md5 is None:
                continue  # DVC hashes neither files outside nor those that it does not cache
            stored = StoredFile(path=output.path, md5=output.md5)
            if not output.md5.endswith(".dir"):
                files.append(stored)
                continue
            pieces: list[bytes] = []
            damage = self._stream(stored, pieces.append)
            if damage:
                damages.append(damage)
            else:
                listed = json.loads(b"".join(pieces))
                files += [StoredFile(path=f"{output.path}/{one['relpath']}", md5=one["md5"]) for one in listed]
        return files, damages

    def check(
        self, files: Iterable[StoredFile], on_progress: Callable[[str], None] = lambda path: None
    ) -> list[Damage]:
        """Read and hash every object; nothing is kept.

        :param on_progress: called with each path that is done.
        """

        def check(file: StoredFile) -> Damage | None:
            damage = self._stream(file, lambda piece: None)
            on_progress(file.path)
            return damage

        return [damage for damage in self._each(check, files) if damage]

    def fetch(
        self, files: Iterable[StoredFile], folder: Path, on_progress: Callable[[str], None] = lambda path: None
    ) -> list[Damage]:
        """Write every file into a folder, by its md5, unless it is damaged."""

        def fetch(file: StoredFile) -> Damage | None:
            part = folder / file.md5
            with open(part, "wb") as stream:
                damage = self._stream(file, stream.write)
            if damage:
                part.unlink()
            on_progress(file.path)
            return damage

        unique = {file.md5: file for file in files}
        return [damage for damage in self._each(fetch, unique.values()) if damage]

    def _each(self, do: Callable[[StoredFile], Damage | None], files: Iterable[StoredFile]) -> list[Damage | None]:
        with ThreadPoolExecutor(REQUESTS_AT_ONCE) as pool:
            return list(pool.map(do, files))

    def _stream(self, file: StoredFile, take: Callable[[bytes], Any]) -> Damage | None:
        key, digest = self.key(file.md5), hashlib.md5(usedforsecurity=False)
        with translated_errors(self.runtime, f"{file.path} (s3://{self.bucket}/{key})"):
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
    "Nothing was changed here. If a cache still has it, run `dvc push` there; otherwise run that configuration again "
    "with `force`."
)


def refuse(damages: list[Damage]) -> None:
    """Stop at damaged objects.

    :raises DataError: names each of them.
    """
    if damages:
        raise DataError(f"{'; '.join(map(str, damages))}. {REMEDY}")


def object_path(md5: str) -> str:
    """Where an object is, below a remote's prefix or in a cache."""
    return f"files/md5/{md5[:2]}/{md5[2:]}"


def md5_of_file(path: Path) -> str | None:
    """The md5 of a file's content; None if there is none."""
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    except FileNotFoundError:
        return None
