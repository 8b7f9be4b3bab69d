"""What a stage would do in a run: the look-up of `dvc_airflow.stage_run`, and nothing after it."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from dvc_airflow.dvc.defined import DefinedStage
from dvc_airflow.dvc.object import MissingObjectsError
from dvc_airflow.dvc.objects import Objects
from dvc_airflow.dvc.repo import DvcWorkspace
from dvc_airflow.dvc.resolve import ResolvedStage
from dvc_airflow.errors import TaskError
from dvc_airflow.execution import began_anew
from dvc_airflow.history import Folder, History, ReadOnlyFolder
from dvc_airflow.lockfile import Lock, LockEntry
from dvc_airflow.project_run import ProjectRun
from dvc_airflow.refusals import refuse_absent, refuse_execution, refuse_other_command, refuse_outputs
from dvc_airflow.reproduce import left_out_lacks, no_stage_produces
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
    known. ``refusal`` is what the run says if it has to execute a stage that depends on others; None: it would not
    refuse that.
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
    refusal: str | None = None


def stage_plan(
    run: PlannedRun, settings: StageSettings, upstream: Lock, left_out: Collection[str] = (), *, force: bool = False
) -> StagePlan:
    """Plan a stage whose inputs are known.

    :param upstream: the lock entries of the stages whose outputs it reads.
    :param left_out: those of these stages that have no task.
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
            return _once_more(workspace, settings, error, left_out, force=force)
        outcome, reason, _ = memory.explain(workspace, status)
        if status.usable is not None:
            return StagePlan(name, outcome, reason, _lock(settings, status.stage.lock_file, status.usable))
        again = _before_execution(workspace, settings, status.stage, left_out)
        with workspace.repo() as repo:
            last = memory.last(repo) if status.stage.has_persistent_outputs else None
            if last and (lost := status.stage.missing_persistent(last)):
                reason = f"{reason}; {began_anew(lost)}"
            key = status.key if status.is_in_run_cache else None
            return StagePlan(name, outcome, reason, inputs=status.inputs, key=key, again=again)


def plan_after_unknown(
    run: PlannedRun,
    settings: StageSettings,
    known: Lock,
    unknown: Sequence[str],
    left_out: Collection[str] = (),
    *,
    force: bool = False,
) -> StagePlan:
    """Plan a stage of which only a part of the inputs is known: it is certain only where it is executed whatever those
    are that it depends on.

    :param known: the lock entries of the other stages whose outputs it reads.
    :param unknown: the stages of which it is not known what they make.
    :param left_out, force: see `stage_plan`.
    :raises TaskError: the run would be refused, whatever they make.
    """
    plan = depends = StagePlan(settings.name, None, depends_on(unknown))
    with run.workspace(known, settings.sources, settings.outputs) as workspace:
        defined, cause = _defined(workspace, settings, force=force)
        stage, missing = _resolved(workspace, settings, defined)
        if stage and cause is None:
            with workspace.repo():
                refuse_absent(workspace, settings, stage)
        with _refused_if_executed(is_certain=cause is not None) as said:
            if missing:
                plan = _once_more(workspace, settings, missing, left_out, force=force)
            elif stage:
                again = _before_execution(workspace, settings, stage, left_out)
                plan = StagePlan(settings.name, Outcome.EXECUTED, str(cause), again=again)
    return plan if cause else replace(depends, refusal=said[0] if said else plan.refusal)


def depends_on(stages: Sequence[str]) -> str:
    """What to say of a stage that depends on what these make."""
    return f"depends on what {' and '.join(stages)} {'makes' if len(stages) == 1 else 'make'}"


def _defined(workspace: DvcWorkspace, settings: StageSettings, *, force: bool) -> tuple[DefinedStage, str | None]:
    """:return: the stage, and why it is executed whatever its inputs are; None if it depends on them."""
    with workspace.repo() as repo:
        stage = DefinedStage(Objects(repo, only_read=workspace.only_read), settings.name)
        refuse_other_command(settings, stage)
        return stage, FORCED if force else stage.always_runs()


def _resolved(
    workspace: DvcWorkspace, settings: StageSettings, defined: DefinedStage
) -> tuple[ResolvedStage | None, MissingObjectsError | None]:
    """:return: the stage, or else the list of a folder that is missing, without which it cannot be looked up."""
    try:
        with workspace.repo():
            return ResolvedStage(defined.objects, settings.name), None
    except MissingObjectsError as error:
        return None, error


def _before_execution(
    workspace: DvcWorkspace, settings: StageSettings, stage: ResolvedStage, left_out: Collection[str]
) -> tuple[str, ...]:
    """:return: the stages that have to be executed once more for this one to be executed.

    :raises TaskError: the run refuses to execute it.
    """
    with workspace.repo():
        refuse_execution(workspace, settings, stage)
        return tuple(dict.fromkeys(_producer(error, settings, left_out) for error in stage.missing_inputs()))


def _once_more(
    workspace: DvcWorkspace,
    settings: StageSettings,
    missing: MissingObjectsError,
    left_out: Collection[str],
    *,
    force: bool,
) -> StagePlan:
    """The plan of a stage that cannot be looked up until another has been executed once more.

    :raises TaskError: no stage of the DAG makes what is missing; or this stage is sure to be executed, and the run
        would refuse that.
    """
    producer = _producer(missing, settings, left_out)
    stage, cause = _defined(workspace, settings, force=force)
    with _refused_if_executed(is_certain=cause is not None) as said, workspace.repo():
        refuse_outputs(workspace, settings, stage)
    reason = f"{depends_on([producer])}, again: {missing}"
    return StagePlan(settings.name, None, reason, again=(producer,), refusal=said[0] if said else None)


@contextmanager
def _refused_if_executed(*, is_certain: bool) -> Iterator[list[str]]:
    """Keep why the block refuses to execute a stage.

    :raises TaskError: it refuses a stage whose execution is certain.
    """
    said: list[str] = []
    try:
        yield said
    except TaskError as error:
        if is_certain:
            raise
        said.append(str(error))


def _producer(error: MissingObjectsError, settings: StageSettings, left_out: Collection[str]) -> str:
    """The stage that makes what is missing.

    :raises TaskError: no stage of the DAG does.
    """
    if error.producer is None:
        raise no_stage_produces(error)
    if error.producer in left_out:
        raise left_out_lacks(error.producer, settings.name)
    return error.producer


def _lock(settings: StageSettings, lock_file: str, entry: LockEntry) -> Lock:
    return {lock_file: {settings.short_name: entry}}
