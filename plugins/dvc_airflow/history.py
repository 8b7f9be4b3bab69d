"""What earlier runs left to know about a stage: its last result in a DAG, and which run made which result.

Small files in the folder `airflow` beside DVC's objects: in the shared cache, or in the remote where there is none.
Airflow's own XComs cannot tell: with `include_prior_dates` a run without a logical date comes before all others.
"""

import hashlib
import json
import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import quote

from dvc_airflow.atomic import replacing
from dvc_airflow.remote import RemoteError, explained, remote_odb

if TYPE_CHECKING:
    from dvc.repo import Repo

log = logging.getLogger(__name__)

FOLDER = "airflow"


class Folder(Protocol):
    """Where small files are kept."""

    def read(self, *names: str) -> bytes:
        """The content. :raises OSError: there is none, or it cannot be had."""

    def write(self, content: bytes, *names: str) -> None:
        """Keep the content, whole or not at all. :raises OSError: it cannot be kept."""


class CacheFolder:
    """In the DVC cache that tasks share."""

    def __init__(self, cache_dir: Path) -> None:
        self.path = cache_dir / FOLDER

    def read(self, *names: str) -> bytes:
        """See `Folder`."""
        return self.path.joinpath(*map(_quoted, names)).read_bytes()

    def write(self, content: bytes, *names: str) -> None:
        """See `Folder`."""
        with replacing(self.path.joinpath(*map(_quoted, names))) as part:
            part.write_bytes(content)


class RemoteFolder:
    """In the DVC remote, for tasks that share no cache."""

    def __init__(self, repo: "Repo") -> None:
        self.repo = repo

    def read(self, *names: str) -> bytes:
        """See `Folder`."""
        with explained(self.repo):
            remote = remote_odb(self.repo, algorithm="md5-dos2unix")
            return bytes(remote.fs.cat_file(remote.fs.join(remote.path, FOLDER, *map(_quoted, names))))

    def write(self, content: bytes, *names: str) -> None:
        """See `Folder`."""
        with explained(self.repo):
            remote = remote_odb(self.repo, algorithm="md5-dos2unix")
            path = remote.fs.join(remote.path, FOLDER, *map(_quoted, names))
            remote.fs.makedirs(remote.fs.parent(path), exist_ok=True)
            remote.fs.pipe_file(path, content)


class History:
    """The history in one folder. It only explains: where it is gone or broken, runs go on without it.

    :raises RemoteError: it is in a remote that cannot be asked.
    """

    def __init__(self, folder: Folder) -> None:
        self._folder = folder

    def last(self, dag_id: str, stage: str) -> dict[str, Any] | None:
        """The lock entry with which the stage ended most recently in this DAG, as ``entry``."""
        return self._read("last", dag_id, stage)

    def maker(self, entry: Mapping[str, Any]) -> dict[str, Any] | None:
        """Who executed the stage with this result: ``dag_id``, ``run_id`` and ``at`` (ISO 8601, UTC)."""
        return self._read("made", digest(entry))

    def record(self, dag_id: str, run_id: str, stage: str, entry: Mapping[str, Any], *, executed: bool) -> None:
        """Remember how the stage ended in this run."""
        if executed:
            now = datetime.now(UTC).isoformat(timespec="seconds")
            self._write({"dag_id": dag_id, "run_id": run_id, "at": now}, "made", digest(entry))
        self._write({"entry": entry}, "last", dag_id, stage)

    def _read(self, *names: str) -> dict[str, Any] | None:
        try:
            return dict(json.loads(self._folder.read(*names)))
        except (OSError, ValueError, TypeError):
            return None

    def _write(self, content: Mapping[str, Any], *names: str) -> None:
        try:
            self._folder.write(json.dumps(content).encode(), *names)
        except (OSError, RemoteError) as error:
            log.warning("The history of this stage is not kept: %s", error)


def digest(value: Any) -> str:
    """SHA-256 of anything that JSON can hold."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def _quoted(name: str) -> str:
    return quote(name, safe="")
