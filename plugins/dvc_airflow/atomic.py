"""Files that are there whole or not at all, however many processes write the same one."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4


@contextmanager
def replacing(target: Path, parts: Path | None = None) -> Iterator[Path]:
    """Give the path of a new file, to be written in the block; it takes the target's place at the block's end.

    If the block raises, the target stays as it was, and nothing else is left.

    :param parts: folder for the new file, on the target's file system; default: the target's own.
    """
    # Not by the process's id: on a shared disk another machine's process may have the same. Nor by the target's name,
    # which may be as long as the file system allows.
    part = (parts or target.parent) / f".{uuid4().hex}.part"
    for folder in (part.parent, target.parent):
        folder.mkdir(parents=True, exist_ok=True)
    try:
        yield part
        os.replace(part, target)
    finally:
        part.unlink(missing_ok=True)
