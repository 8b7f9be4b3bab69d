"""One execution per key: of several runs that need the same result at the same time, one makes it."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def exclusive(folder: Path, key: str) -> Iterator[bool]:
    """Hold the lock of a key (flock): the kernel gives it back when the process dies, however it dies.

    On a file system that knows no such lock there is none: then the result may be made twice, as without it.

    :return: whether we had to wait for another.
    """
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder / key, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        yield _waited(descriptor)
    finally:
        os.close(descriptor)


def _waited(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        return True
    except OSError:
        pass
    return False
