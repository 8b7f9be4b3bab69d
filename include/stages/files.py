"""Atomic writes, so that a killed stage leaves no half-written file, and tables that keep their exact values."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from include.errors import DataError

if TYPE_CHECKING:
    import pandas as pd


def write_bytes(path: str | Path, content: bytes, mode: int | None = None) -> None:
    """Write a file whole or not at all, folders included, however many processes write the same one.

    :param mode: who may read and write it; None leaves that to the umask.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    # The same folder, for os.replace is atomic only within a file system. Not by the process's id: on a shared disk
    # another machine's process may have the same.
    part = target.with_name(f".{uuid4().hex}.part")
    try:
        with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666 if mode is None else mode), "wb") as file:
            if mode is not None:
                os.fchmod(file.fileno(), mode)
            file.write(content)
        os.replace(part, target)
    finally:
        part.unlink(missing_ok=True)


def write_json(path: str | Path, document: Mapping[str, Any]) -> None:
    """Write JSON, indented, keys in the order given."""
    write_bytes(path, (json.dumps(document, indent=2, allow_nan=False) + "\n").encode())


def write_csv(path: str | Path, frame: "pd.DataFrame") -> None:
    """Write a table without its index; floats in the shortest form that reads back as the same number."""
    write_bytes(path, frame.to_csv(index=False, lineterminator="\n").encode())


def read_csv(path: str | Path) -> "pd.DataFrame":
    """Read a table that `write_csv` wrote.

    :raises DataError: the file is absent or no table.
    """
    import pandas as pd

    try:
        return pd.read_csv(path)
    except FileNotFoundError:
        raise DataError(f"{path} is missing. Run the stage that makes it: dvc repro") from None
    except ValueError as error:  # pandas' parser and encoding errors are ValueErrors
        raise DataError(f"{path} is not a CSV table: {error}") from None
