"""What a stage would do in a run: the look-up of `dvc_airflow.stage_run`, and nothing after it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dvc_airflow.dvc.defined import DefinedStage
from dvc_airflow.dvc.object import MissingObjectsError
from dvc_airflow.dvc.objects import Objects
from dvc_airflow.dvc.resolve import ResolvedStage
from dvc_airflow.execution import began_anew
from dvc_airflow.history import Folder, History, ReadOnlyFolder
from dvc_airflow.lockfile import Lock, LockEntry
from dvc_airflow.project_run import ProjectRun
from dvc_airflow.refusals import refuse_absent, refuse_execution, refuse_other_command
from dvc_airflow.reproduce import no_stage_produces
from dvc_airflow.result import Outcome
from dvc_airflow.stage_memory import StageMemory
from dvc_airflow.stage_settings import StageSettings
from dvc_airflow.status import stage_status

FORCED = "forced by this run"


@dataclass(frozen=True)
class PlannedRun(ProjectRun):
    """A run that is only planned: cache, remote and history are read, and not written to.

    :param scratch: a private folder, for workspaces and for what DVC needs of the remote.
    :param before: with which lock entries stages end in the runs that come before this one.
    """

    scratch: Path = field(default_factory=Path)
    before: Mapping[str, LockEntry] = field(default_factory=dict)

    def _places(self) -> dict[str, Any]:
        return {"cache_dir": self.scratch / "cache", "only_read": self.cache_dir, "parent": self.scratch}

    def _history_in(self, folder: Folder) -> History:
        return _HistoryToBe(folder, self.before)


class _HistoryToBe(History):
    """The history as it is when planned runs have come to their ends."""

    def __init__(self, folder: Folder, before: Mapping[str, LockEntry]) -> None:
        super().__init__(ReadOnlyFolder(folder))
        self._before = before

    def last(self, dag_id: str, stage: str) -> LockEntry | None:
        """See `History`."""
        return self._before.get(stage) or super().last(dag_id, stage)


@dataclass(frozen=True)
class StagePlan:
    """What a stage would do.

    ``outcome`` is None where it depends on what another stage makes; ``reason`` is that of the run, or its definite
    part. ``lock`` is its result, if that is known; ``inputs`` is the lock entry of a stage that is executed, without
    the hashes of its outputs, and ``key`` is that of the run-cache, if that will have the result. ``again`` are stages
    that are executed once more, because what they made and this one reads is missing; ``made_in`` is the planned run in
    which this stage makes the result for this run too. ``seconds`` is what its execution usually takes; None: not
    known.
    """

    stage: str
    outcome: Outcome | None
    reason: str
    lock: Lock | None = None
    inputs: LockEntry | None = None
    key: str | None = None
    again: tuple[str, ...] = ()
    made_in: str | None = None
    seconds: float | None = None


def stage_plan(run: PlannedRun, settings: StageSettings, upstream: Lock, *, force: bool = False) -> StagePlan:
    """Plan a stage whose inputs are known.

    :param upstream: the lock entries of the stages whose outputs it reads.
    :param force: whether the run executes it whatever is known.
    :raises TaskError: the run would be refused; or the remote cannot be asked.
    """
    memory, name = StageMemory(run, settings, upstream), settings.name
    if not force and (recalled := memory.recall()):
        known, (outcome, reason, _) = recalled
        return StagePlan(name, outcome, reason, _lock(settings, known.lock_file, known.entry))
    with run.workspace(upstream, settings.sources, settings.outputs) as workspace:
        try:
            status = stage_status(workspace, settings, memory.memo, memory.states, memory.last, force=force)
        except MissingObjectsError as error:  # the list of a folder, which gives the stage its key
            return _once_more(name, error)
        outcome, reason, _ = memory.explain(workspace, status)
        if status.usable is not None:
            return StagePlan(name, outcome, reason, _lock(settings, status.stage.lock_file, status.usable))
        with workspace.repo() as repo:
            refuse_execution(workspace, settings, status.stage)
            again = _again(status.stage)
            last = memory.last(repo) if status.stage.has_persistent_outputs else None
            if last and (lost := status.stage.missing_persistent(last)):
                reason = f"{reason}; {began_anew(lost)}"
            key = status.key if status.is_in_run_cache else None
            return StagePlan(name, outcome, reason, inputs=status.inputs, key=key, again=again)


def plan_after_unknown(
    run: PlannedRun, settings: StageSettings, known: Lock, unknown: Sequence[str], *, force: bool = False
) -> StagePlan:
    """Plan a stage of which only a part of the inputs is known: it is certain only where it is executed whatever those
    are that it depends on.

    :param known: the lock entries of the other stages whose outputs it reads.
    :param unknown: the stages of which it is not known what they make.
    :param force: see `stage_plan`.
    :raises TaskError: the run would be refused, whatever they make.
    """
    name = settings.name
    with run.workspace(known, settings.sources, settings.outputs) as workspace, workspace.repo() as repo:
        objects = Objects(repo, only_read=workspace.only_read)
        defined = DefinedStage(objects, name)
        refuse_other_command(settings, defined)
        cause = FORCED if force else defined.always_runs()
        depends = StagePlan(name, None, depends_on(unknown))
        try:
            stage = ResolvedStage(objects, name)
        except MissingObjectsError as error:  # the list of a folder
            return _once_more(name, error) if cause else depends
        refuse_absent(workspace, settings, stage)
        if cause is None:
            return depends
        refuse_execution(workspace, settings, stage)
        return StagePlan(name, Outcome.EXECUTED, cause, again=_again(stage))


def depends_on(stages: Sequence[str]) -> str:
    """What to say of a stage that depends on what these make."""
    return f"depends on what {' and '.join(stages)} {'makes' if len(stages) == 1 else 'make'}"


def _once_more(name: str, error: MissingObjectsError) -> StagePlan:
    """The plan of a stage that cannot be looked up before another was executed once more."""
    producer = _producer(error)
    return StagePlan(name, None, f"{depends_on([producer])}, again: {error}", again=(producer,))


def _again(stage: ResolvedStage) -> tuple[str, ...]:
    """The stages that have to be executed once more for this one to be executed.

    :raises TaskError: no stage makes what is missing.
    """
    return tuple(dict.fromkeys(map(_producer, stage.missing_inputs())))


def _producer(error: MissingObjectsError) -> str:
    """The stage that makes what is missing.

    :raises TaskError: no stage does.
    """
    if error.producer is None:
        raise no_stage_produces(error)
    return error.producer


def _lock(settings: StageSettings, lock_file: str, entry: LockEntry) -> Lock:
    return {lock_file: {settings.short_name: entry}}
