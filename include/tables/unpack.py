"""Compressed files, by their ending: unpacked into a temporary file, with a bound on what comes out."""

import bz2
import gzip
import lzma
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO, Any

from include.errors import DataError

CHUNK = 1 << 20  # bytes
ALLOWED = 256 << 20  # bytes, however small the file is
RATIO = 200  # unpacked to packed; tables of text have 3 to 30, a bomb of gzip has 1000


def _zstd(path: Path) -> Any:
    import pyarrow

    return pyarrow.CompressedInputStream(pyarrow.OSFile(str(path)), "zstd")


OPENERS: dict[str, Callable[[Path], Any]] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open, ".zst": _zstd}


def packed_as(name: str) -> str:
    """``.gz`` or the like; empty if the name has none of these endings."""
    return next((ending for ending in OPENERS if name.lower().endswith(ending)), "")


@contextmanager
def unpacked(path: Path, name: str) -> Iterator[Path]:
    """The file, or its content in a temporary one.

    :param name: the source as the user wrote it; its ending says how it is packed.
    :raises DataError: it cannot be unpacked, or is far larger than it looks.
    """
    name = name.partition("?")[0]
    ending = packed_as(name)
    if not ending:
        yield path
        return
    with TemporaryDirectory(prefix="unpacked-") as folder:
        content = Path(folder) / "table"
        with content.open("wb") as out:
            try:
                with OPENERS[ending](path) as packed:
                    _copy(packed, out, max(ALLOWED, RATIO * path.stat().st_size), name)
            except (EOFError, OSError, ValueError, lzma.LZMAError, zlib.error) as error:
                what = "is cut short" if isinstance(error, EOFError) or "ncomplete" in str(error) else "is damaged"
                raise DataError(f"{name} {what}, or not packed as its ending {ending} says: {error}.") from None
        yield content


def _copy(packed: IO[bytes], out: IO[bytes], most: int, name: str) -> None:
    size = 0
    while piece := packed.read(CHUNK):
        size += len(piece)
        if size > most:
            raise DataError(
                f"{name} is more than {RATIO} times larger when it is unpacked (over {size >> 20} MiB). If that is "
                "right, unpack it yourself and name the file that comes out."
            )
        out.write(piece)
