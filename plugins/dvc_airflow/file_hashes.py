"""The SHA-256 of files, of which large ones are read only when they have changed."""

import hashlib
import json
from contextlib import suppress
from pathlib import Path

from dvc_airflow.files import state_of
from dvc_airflow.history import Folder
from dvc_airflow.lockfile import digest

SMALL = 1024 * 1024  # bytes; to read what is smaller costs less than to look it up


class FileHashes:
    """Remembers the hashes of large files by their states (size, mtime, inode).

    :param folder: where they are remembered.
    """

    def __init__(self, folder: Folder) -> None:
        self._folder = folder

    def of(self, file: Path) -> str:
        """The SHA-256 of a file's content.

        :raises OSError: it cannot be read.
        """
        state = state_of(file)
        if state is None or state[0] < SMALL:
            return sha256_of(file)
        name = digest(str(file))
        with suppress(OSError, ValueError, TypeError, KeyError):
            known = json.loads(self._folder.read("hashes", name))
            if known["state"] == state:
                return str(known["sha256"])
        found = sha256_of(file)
        if state_of(file) == state:
            with suppress(OSError):  # it only saves time
                self._folder.write(json.dumps({"state": state, "sha256": found}).encode(), "hashes", name)
        return found


def sha256_of(file: Path) -> str:
    """The SHA-256 of a file's content, read now."""
    with open(file, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
