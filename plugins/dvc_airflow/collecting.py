"""A garbage collection of the remote, ``python -m include gc``, as runs see it: while one deletes, no run takes for
granted that something is there.

Its other half is `include.collection` (neither room imports the other):

- A run says what it needs *before* it looks whether that is there: a push leaves the run's lock, ``airflow/runs/...``
  (`dvc_airflow.run_locks`), a first task the list of the run's code, ``airflow/code/ID.json``. A collection keeps what
  these name.
- A collection holds the object ``airflow/gc`` while it reads that and deletes. A run that finds the object, after it
  has said what it needs, waits until it is gone, and looks then.

So either the collection has read what the run needs, or the run looks when the collection has ended. The collection
writes the object anew before each request that deletes. One that does not for `STALE_SECONDS` was killed: the run
empties the object, which means that there is none. It need not have the right to delete for that; and the collection,
if it is alive, does not go on, for the object is not as it wrote it.
"""

import logging
import time
from collections.abc import Callable
from typing import Protocol, TypeVar

log = logging.getLogger(__name__)

FILE = "gc"
STALE_SECONDS = 60.0
PAUSE_SECONDS = 0.5

Said = TypeVar("Said")


class MarkedFolder(Protocol):
    """The folder ``airflow`` of a remote."""

    def read(self, *names: str) -> bytes:
        """See `dvc_airflow.history.Folder`. :raises FileNotFoundError: there is none."""

    def write(self, content: bytes, *names: str) -> None:
        """See `dvc_airflow.history.Folder`."""


def say_beside_collections(say: Callable[[], Said], folder: MarkedFolder) -> Said:
    """Say what a run needs, so that each collection has either read it or ended before.

    Once more after each one that was at work: it may have deleted what an earlier push of the same run had said.

    :raises RemoteError: the remote cannot be asked.
    """
    said = say()
    while wait_for_collection(folder):
        said = say()
    return said


def wait_for_collection(folder: MarkedFolder) -> bool:
    """Wait while a collection deletes.

    :return: whether there was one: what was found before may be gone.
    :raises RemoteError: the remote cannot be asked.
    """
    seen, since = None, time.monotonic()
    while (mark := _mark(folder)) is not None:
        if mark != seen:
            if seen is None:
                log.info("`gc` is deleting in the remote; waiting until it has ended")
            seen, since = mark, time.monotonic()
        elif time.monotonic() - since > STALE_SECONDS:
            log.warning("`gc` has not gone on for %.0f s: it was killed. Its mark is emptied.", STALE_SECONDS)
            folder.write(b"", FILE)
            return True
        time.sleep(PAUSE_SECONDS)
    return seen is not None


def _mark(folder: MarkedFolder) -> bytes | None:
    try:
        return folder.read(FILE) or None
    except FileNotFoundError:
        return None
