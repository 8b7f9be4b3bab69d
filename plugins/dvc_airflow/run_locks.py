"""The lock files of runs, beside the objects in the remote: by them a checkout gets a run's results, see `pull`.

``airflow/runs/<dag>/<run>`` and ``airflow/last_run/<dag>``. They are also what a garbage collection of the remote keeps
the objects of runs by, see `dvc_airflow.collecting`.
"""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Protocol

from pydantic import BaseModel, ConfigDict, ValidationError

from dvc_airflow.dvc_config import WHY_IT_LACKS, folder_lacks
from dvc_airflow.errors import TaskError
from dvc_airflow.history import Folder
from dvc_airflow.lockfile import Lock, LockField

RUNS, LAST = "runs", "last_run"


class ListedFolder(Folder, Protocol):
    """Where small files are kept, and can be listed."""

    def names(self, *names: str) -> Sequence[str]:
        """The names of the files in a folder; none if the folder does not exist."""


class RunLock(BaseModel):
    """What the stages of a run made."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    dag_id: str
    run_id: str
    #: when its push began; ISO 8601, UTC
    at: str
    #: the entries of its stages, by lock file
    lock: LockField


class WritableFolder(Protocol):
    """Where small files can be kept."""

    def write(self, content: bytes, *names: str) -> None:
        """See `Folder`."""


def announce_lock(folder: WritableFolder, dag_id: str, run_id: str, lock: Lock) -> bytes:
    """Leave the lock of a run, before its outputs are looked for in the remote: a garbage collection keeps them then.

    :return: what `keep_last` takes, when the remote has them all.
    :raises RemoteError: the remote cannot be written to.
    """
    now = datetime.now(UTC).isoformat(timespec="microseconds")
    text = RunLock(dag_id=dag_id, run_id=run_id, at=now, lock=lock).model_dump_json().encode()
    folder.write(text, RUNS, dag_id, run_id)
    return text


def keep_last(folder: WritableFolder, dag_id: str, text: bytes) -> None:
    """Make a run, all of whose outputs the remote has, the last good one of its DAG.

    :raises RemoteError: the remote cannot be written to.
    """
    folder.write(text, LAST, dag_id)


class RunLocks:
    """The lock files of runs in one remote.

    :param where: the remote, for people.
    :raises RemoteError: the remote cannot be asked.
    """

    def __init__(self, folder: ListedFolder, where: str) -> None:
        self._folder, self._where = folder, where

    def find(self, dag_id: str | None, run_id: str | None, is_ours: Callable[[RunLock], bool]) -> RunLock:
        """A run; by default the last one that was pushed.

        :param is_ours: whether a run is of the project at hand: a remote may be that of several.
        :raises TaskError: there is none, or several DAGs have one with this id; with what there is.
        """
        dags = [dag_id] if dag_id else sorted(self._folder.names(LAST))
        places = [(LAST, dag) if run_id is None else (RUNS, dag, run_id) for dag in dags]
        found = [run for place in places if (run := self._read(*place)) and is_ours(run)]
        if run_id and len(found) > 1:
            of = ", ".join(run.dag_id for run in found)
            raise TaskError(f"several DAGs have a run {run_id} ({of}). Name one with --dag.")
        if not found:
            raise TaskError(self._nothing(dag_id, run_id))
        return max(found, key=lambda run: run.at)

    def _read(self, *names: str) -> RunLock | None:
        try:
            return RunLock.model_validate_json(self._folder.read(*names))
        except (OSError, ValidationError):
            return None

    def _nothing(self, dag_id: str | None, run_id: str | None) -> str:
        there = sorted(self._folder.names(LAST))
        if not there:
            lacks = folder_lacks(self._where)
            state = f" (the folder {lacks}: {WHY_IT_LACKS})" if lacks else ""
            return (
                f"the remote {self._where} has no run yet{state}: DvcPushOperator leaves a run's lock files there, "
                "and says when it has succeeded. Name another remote with --remote."
            )
        if dag_id is not None and dag_id not in there:
            return f"the remote {self._where} has no run of DAG {dag_id}; there are runs of {', '.join(there)}."
        if run_id is None:
            return f"the remote {self._where} has no run of this project; there are runs of {', '.join(there)}."
        runs = [run for dag in ([dag_id] if dag_id else there) for run in self._folder.names(RUNS, dag)]
        return f"the remote {self._where} has no run {run_id}. The last ones by name: {', '.join(sorted(runs)[-10:])}."
