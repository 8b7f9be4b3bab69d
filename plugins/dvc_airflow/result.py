"""What tasks hand on to each other by XCom: typed, with a checksum, and accepted only whole."""

import json
from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from dvc_airflow.errors import ResultError
from dvc_airflow.lockfile import LockEntry, LockField, digest

CHECKSUM = "checksum"


class Outcome(StrEnum):
    """How a stage ended."""

    EXECUTED = "executed"
    #: an earlier result of the same inputs was used, and it is not that of the last run
    RESTORED = "restored"
    #: the inputs are those of the last run
    UNCHANGED = "unchanged"


class TaskResult(BaseModel):
    """Base class of what a task returns. An XCom may have been edited, truncated, or written by other code."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    def to_xcom(self) -> dict[str, Any]:
        """The fields as JSON has them, and their checksum."""
        fields = self.model_dump(mode="json")
        return {**fields, CHECKSUM: digest(_as_numbers(fields))}

    @classmethod
    def from_xcom(cls, value: Any, task_id: str) -> Self:
        """Read what a task returned.

        :param value: its XCom.
        :param task_id: of the task, to name it in messages.
        :raises ResultError: there is none, or it is not what the task returned, or of another version of the code.
        """
        if not isinstance(value, Mapping):
            raise ResultError(f"task {task_id} returned no result. Clear it, so that it runs again.")
        fields = {name: content for name, content in value.items() if name != CHECKSUM}
        form = fields.keys() ^ cls.model_fields.keys() | ({CHECKSUM} - value.keys())
        if form:
            raise ResultError(
                f"the result of task {task_id} (its XCom) was written by another version of the code (fields that "
                f"differ: {', '.join(sorted(form))}). Clear that task, so that it runs again."
            )
        if value[CHECKSUM] != digest(_as_numbers(fields)):
            raise ResultError(
                f"the result of task {task_id} (its XCom) was truncated or changed. Clear that task, so that it runs "
                "again."
            )
        try:
            return cls.model_validate_json(json.dumps(fields))
        except ValidationError as error:
            where = ".".join(str(step) for step in error.errors()[0]["loc"])
            raise ResultError(
                f"the result of task {task_id} (its XCom) cannot be read ({where}: {error.errors()[0]['msg']}). Clear "
                "that task, so that it runs again."
            ) from None


class StageResult(TaskResult):
    """How a stage ended in a run, and which data it made."""

    #: as ``dvc repro`` takes it
    stage: str
    outcome: Outcome
    #: why it ran, or did not
    reason: str
    #: when its look-up began; ISO 8601, UTC
    started_at: str
    #: from then until the result was there
    seconds: float
    #: the run that executed it, None where that is not known
    executed_in: str | None
    #: its entry, by lock file and stage
    lock: LockField
    #: content of the small text outputs that tasks after the pipeline want, by path
    published: dict[str, str]

    @property
    def lock_file(self) -> str:
        """The lock file that the entry belongs to."""
        (file,) = self.lock
        return file

    @property
    def entry(self) -> LockEntry:
        """The stage's lock entry."""
        (entry,) = self.lock[self.lock_file].values()
        return entry


class PackedCode(BaseModel):
    """Which code a run has."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    #: the id of its pack, see `dvc_airflow.code_pack`
    pack: str
    #: git's commit at that moment, and whether tracked files of the project differed from it; None outside of git
    git_sha: str | None
    dirty: bool | None
    #: of the DAG's bundle, where that has versions
    bundle_version: str | None


class PreparedRun(TaskResult):
    """What all tasks of a run have in common."""

    #: the texts that take the place of the project's files in the workspaces, by path
    files: dict[str, str]
    #: whether every stage is to run, whatever is known
    force: bool
    code: PackedCode


class PushResult(TaskResult):
    """What the remote was proved to have."""

    #: how many objects it holds for this run, and their size
    objects: int
    bytes: int
    #: how many of them it lacked before
    pushed: int
    #: where, None where the project's own .dvc/config says so
    remote_url: str | None


def is_whole(value: Any) -> bool:
    """Whether this is what a task returned, of whichever version of the code: an object with its checksum."""
    if not isinstance(value, Mapping) or CHECKSUM not in value:
        return False
    return bool(value[CHECKSUM] == digest(_as_numbers({name: one for name, one in value.items() if name != CHECKSUM})))


def _as_numbers(value: Any) -> Any:
    """JSON with whole floats as integers: PostgreSQL keeps 1e16 as 10000000000000000, and -0.0 as 0.0."""
    if isinstance(value, Mapping):
        return {name: _as_numbers(content) for name, content in value.items()}
    if isinstance(value, list):
        return [_as_numbers(one) for one in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value
