"""Atomic writes, so that a killed stage leaves no half-written file."""

import csv
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

if TYPE_CHECKING:
    import pandas as pd


def write_bytes(path: str | Path, content: bytes, mode: int | None = None) -> None:
    """Write a file whole or not at all, folders included, however many processes write the same one.

    :param mode: who may read and write it; None leaves that to the umask.
    """
    with (
        written_whole(path) as part,
        open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666 if mode is None else mode), "wb") as file,
    ):
        if mode is not None:
            os.fchmod(file.fileno(), mode)
        file.write(content)


@contextmanager
def written_whole(path: str | Path) -> Iterator[Path]:
    """The name of a file to write; it takes the place of ``path`` when the block ends well, and is removed if not."""
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    # The same folder, for os.replace is atomic only within a file system. Not by the process's id: on a shared disk
    # another machine's process may have the same.
    part = target.with_name(f".{uuid4().hex}.part")
    try:
        yield part
        os.replace(part, target)
    finally:
        part.unlink(missing_ok=True)


def write_json(path: str | Path, document: Mapping[str, Any]) -> None:
    """Write JSON, indented, keys in the order given."""
    write_bytes(path, (json.dumps(document, indent=2, allow_nan=False) + "\n").encode())


def write_csv(path: str | Path, frame: "pd.DataFrame") -> None:
    """Write a table without its index; floats in the shortest form that reads back as the same number."""
    write_bytes(path, csv_of(frame))


def csv_of(frame: "pd.DataFrame") -> bytes:
    """The same as bytes; a carriage return within a cell is quoted, which pandas forgets."""
    text = frame.to_csv(index=False, lineterminator="\n")
    if "\r" in text:
        text = frame.to_csv(index=False, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)
    return text.encode()
