"""What earlier runs left to know about a stage: its last result in a DAG, and which run executed which result.

Small files in the folder `airflow` beside DVC's objects: in the shared cache, or in the remote where there is none.
Airflow's own XComs cannot answer this: with `include_prior_dates` a run without a logical date comes before all others.
"""

import json
import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote, unquote

from dvc_airflow.errors import RemoteError
from dvc_airflow.files import replacing
from dvc_airflow.lockfile import LockEntry, digest, from_json, to_json

log = logging.getLogger(__name__)

FOLDER = "airflow"
LAST = "last"  # has a folder for each DAG, with the last results of its stages
LONGEST_NAME = 250  # bytes; file systems allow 255
EXECUTIONS = 20  # of a stage, whose seconds are kept


class Folder(Protocol):
    """Where small files are kept."""

    def read(self, *names: str) -> bytes:
        """The content. :raises OSError: there is none, or it cannot be read."""

    def write(self, content: bytes, *names: str) -> None:
        """Keep the content, whole or not at all. :raises OSError: it cannot be kept."""


class CacheFolder:
    """In the DVC cache that tasks share."""

    def __init__(self, cache_dir: Path) -> None:
        self.path = cache_dir / FOLDER

    def read(self, *names: str) -> bytes:
        """See `Folder`."""
        return self.path.joinpath(*map(file_name, names)).read_bytes()

    def write(self, content: bytes, *names: str) -> None:
        """See `Folder`."""
        with replacing(self.path.joinpath(*map(file_name, names))) as part:
            part.write_bytes(content)

    def names(self, *names: str) -> list[str]:
        """The names of the files in a folder; none if the folder does not exist."""
        folder = self.path.joinpath(*map(file_name, names))
        return sorted(unquote(file.name) for file in folder.iterdir()) if folder.is_dir() else []


class ReadOnlyFolder:
    """Another folder, to which nothing is written; a `Folder`."""

    def __init__(self, folder: Folder) -> None:
        self._folder = folder

    def read(self, *names: str) -> bytes:
        """See `Folder`."""
        return self._folder.read(*names)

    def write(self, content: bytes, *names: str) -> None:
        """Nothing."""


class History:
    """The history in one folder. It only explains: where it is gone or broken, runs go on without it.

    :raises RemoteError: it is in a remote that cannot be asked.
    """

    def __init__(self, folder: Folder) -> None:
        self._folder = folder

    def last(self, dag_id: str, stage: str) -> LockEntry | None:
        """The lock entry with which the stage ended most recently in this DAG."""
        found = self._read(LAST, dag_id, stage)
        return from_json(found.get("entry")) if found else None

    def executed_by(self, entry: LockEntry) -> dict[str, Any] | None:
        """Who executed the stage with this result: ``dag_id``, ``run_id`` and ``at`` (ISO 8601, UTC)."""
        return self._read("made", digest(entry))

    def seconds(self, dag_id: str, stage: str) -> list[float]:
        """How long the last executions of the stage in this DAG took, in seconds, the newest last."""
        found = (self._read("seconds", dag_id, stage) or {}).get("seconds")
        return [float(one) for one in found if isinstance(one, int | float)] if isinstance(found, list) else []

    def record(
        self, dag_id: str, run_id: str, stage: str, entry: LockEntry, *, executed: bool, seconds: float | None = None
    ) -> None:
        """Remember how the stage ended in this run.

        :param seconds: how long its execution took.
        """
        if executed and seconds is not None:
            known = [*self.seconds(dag_id, stage), seconds]
            self._write({"seconds": known[-EXECUTIONS:]}, "seconds", dag_id, stage)
        if executed:
            now = datetime.now(UTC).isoformat(timespec="seconds")
            self._write({"dag_id": dag_id, "run_id": run_id, "at": now}, "made", digest(entry))
        self._write({"entry": to_json(entry)}, LAST, dag_id, stage)

    def _read(self, *names: str) -> dict[str, Any] | None:
        try:
            return dict(json.loads(self._folder.read(*names)))
        except (OSError, ValueError, TypeError):
            return None

    def _write(self, content: Mapping[str, Any], *names: str) -> None:
        try:
            self._folder.write(json.dumps(content).encode(), *names)
        except (OSError, RemoteError) as error:
            log.warning("The history of this stage could not be written: %s", error)


def file_name(name: str) -> str:
    """A name that may hold anything, as the name of a file."""
    quoted = quote(name, safe="").replace(".", "%2E") if set(name) == {"."} else quote(name, safe="")
    return quoted if len(quoted) <= LONGEST_NAME else f"{quoted[: LONGEST_NAME - 65]}-{digest(name)}"
