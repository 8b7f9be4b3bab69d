"""Files that several processes use: written whole or not at all, and recognised by their state."""

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

# Size, mtime (ns) and inode of a file, as dvc-data keeps them to tell that a file was not changed.
FileState = list[int]


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


def state_of(path: str | Path) -> FileState | None:
    """The state of a file as it is now; None if there is none."""
    try:
        status = Path(path).stat()
    except OSError:
        return None
    return [status.st_size, status.st_mtime_ns, status.st_ino]


class FileStates:
    """The states of files when their content was last found to be right. A file in that state is not read again."""

    def __init__(self) -> None:
        self._known: dict[str, FileState] = {}

    def is_unchanged(self, path: str) -> bool:
        """Whether the file is as it was when its content was right."""
        state = state_of(path)
        return state is not None and self._known.get(path) == state

    def remember(self, path: str, state: FileState | None) -> None:
        """The content of the file was right when the file was in this state."""
        if state is not None:
            self._known[path] = state

    def update(self, known: Mapping[str, FileState]) -> None:
        """Take over what another task has found."""
        self._known.update(known)

    def of(self, paths: Iterable[str]) -> dict[str, FileState]:
        """What is known of these files."""
        return {path: self._known[path] for path in paths}
