"""The life of a stage in a run, without Airflow. `StageRun.run` is the place to start reading."""

import logging
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from dvc_airflow.command import CommandRunner
from dvc_airflow.dvc.object import Object
from dvc_airflow.dvc.objects import Objects
from dvc_airflow.dvc.outputs import objects_of, outputs_to_push, push_outputs
from dvc_airflow.dvc.repo import DvcWorkspace
from dvc_airflow.dvc.resolve import ResolvedStage, run_cache_key
from dvc_airflow.dvc.run_cache import RunCache
from dvc_airflow.errors import CorruptedCacheError, TaskError
from dvc_airflow.explain import explain, reproduction
from dvc_airflow.files import FileState, FileStates
from dvc_airflow.lockfile import Lock, LockEntry, merge_locks, output_paths, read_entry
from dvc_airflow.memo import Fingerprint, Memo, MemoEntry, MemoKey
from dvc_airflow.project_run import ProjectRun
from dvc_airflow.reproduce import FindProducer, no_producer, reproducing_missing
from dvc_airflow.result import Outcome, StageResult
from dvc_airflow.stage_settings import StageSettings
from dvc_airflow.status import StageStatus, published_by, stage_status

log = logging.getLogger(__name__)

WHATEVER_IS_KNOWN = " --force --no-run-cache"  # options of `dvc repro`


@dataclass(frozen=True)
class Ending:
    """The end of a stage, before it becomes a `StageResult`.

    :param states: how the objects of its result lie in the shared cache; None if not all are there.
    """

    outcome: Outcome
    reason: str
    executed_in: str | None
    lock_file: str
    entry: LockEntry
    published: dict[str, str]
    states: dict[str, FileState] | None


class StageRun:
    """One stage in one run.

    :param upstream: the lock entries of the stages whose outputs it reads.
    :param force: execute it whatever is known, and say whether it reproduced.
    :param producer_of: finds the task of an earlier stage, whose output is missing.
    :param runner: runs the command; with one of one's own, the command can be ended.
    """

    def __init__(
        self,
        run: ProjectRun,
        settings: StageSettings,
        upstream: Lock,
        *,
        force: bool = False,
        producer_of: FindProducer = no_producer,
        runner: CommandRunner | None = None,
    ) -> None:
        self._project_run, self._settings, self._upstream, self._force = run, settings, upstream, force
        self._producer_of, self._runner = producer_of, runner or CommandRunner()
        self._memo, self._states = Memo(run.cache_dir), FileStates()

    def run(self) -> StageResult:
        """Look up the stage; execute it only if no result of the same inputs is known and still there.

        :raises TaskError: it cannot go on; with what to do.
        """
        started_at, began = datetime.now(UTC).isoformat(timespec="seconds"), time.monotonic()
        # A result of exactly the same files: needs neither a workspace nor DVC.
        ending = self._recall()
        if ending is None:
            with self._project_run.workspace(self._upstream) as workspace, ExitStack() as lock:
                # The run-cache's key, and an earlier result with that key that is still intact.
                status = reproducing_missing(lambda: self._status(workspace), self._producer_of)
                # Of several runs that need the same result at the same time, one executes the stage.
                if status.usable is None and self._may_be_overtaken(workspace, status, lock):
                    status = self._status(workspace)
                # As the files are before the stage runs: the project may change while it does.
                memo_key = self._memo_key(workspace, status)
                usable = status.usable
                ending = self._reuse(workspace, status, usable) if usable else self._execute(workspace, status)
                self._remember(workspace, status, ending, memo_key)
        log.info("Stage %s: %s (%s)", self._settings.name, ending.outcome, ending.reason)
        return StageResult(
            stage=self._settings.name,
            outcome=ending.outcome,
            reason=ending.reason,
            started_at=started_at,
            seconds=round(time.monotonic() - began, 2),
            executed_in=ending.executed_in,
            lock={ending.lock_file: {self._settings.short_name: dict(ending.entry)}},
            published=ending.published,
        )

    def reproduce(self, known: StageResult, missing: Sequence[Object]) -> None:
        """Execute the stage once more, for a later one that finds its outputs missing.

        Once, if several find that at the same time. What is not missing may come out differently; it is still there.

        :param known: how the stage ended in this run.
        """
        with (
            self._project_run.workspace(self._upstream) as workspace,
            self._memo.exclusive(run_cache_key(known.entry)),
        ):
            with workspace.repo() as repo:
                cache = Objects(repo).cache
                if all(cache.has(one) for one in missing):
                    return  # another task has had it made meanwhile
            entry = self._repro(workspace, known.lock_file, WHATEVER_IS_KNOWN)
            self._commit(workspace, entry)

    def _recall(self) -> Ending | None:
        """The result, if the memo has it."""
        history = self._project_run.shared_history()
        if history is None or self._force or self._settings.is_frozen:
            return None
        known = self._memo.recall(self._fingerprint(self._project_run.project_dir))
        if known is None or known.published.keys() != set(self._settings.publish):
            return None
        if self._settings.unusable(known.published):
            return None
        last = history.last(self._project_run.dag_id, self._settings.name)
        by = history.executed_by(known.entry)
        outcome, reason = explain(last, known.entry, known.inputs, output_paths(self._upstream), by)
        if outcome is not Outcome.UNCHANGED:
            history.record(
                self._project_run.dag_id, self._project_run.run_id, self._settings.name, known.entry, executed=False
            )
        executed_in = by["run_id"] if by else None
        return Ending(outcome, reason, executed_in, known.lock_file, known.entry, known.published, known.states)

    def _status(self, workspace: DvcWorkspace) -> StageStatus:
        return stage_status(workspace, self._settings, self._memo, self._states, force=self._force)

    def _may_be_overtaken(self, workspace: DvcWorkspace, status: StageStatus, lock: ExitStack) -> bool:
        """Take the key's lock. :return: whether another run may have made the result before we had it."""
        if status.key is None or self._force:
            return False
        has_waited = lock.enter_context(self._memo.exclusive(status.key))
        if has_waited or status.cause:
            return True
        with workspace.repo() as repo:
            return RunCache(repo).names(status.key) != status.candidates

    def _reuse(self, workspace: DvcWorkspace, status: StageStatus, entry: LockEntry) -> Ending:
        """Use an earlier result instead of executing the stage."""
        stage = status.stage
        with workspace.repo() as repo:
            history = self._project_run.history(repo)
            last, by = history.last(self._project_run.dag_id, self._settings.name), history.executed_by(entry)
            outcome, reason = explain(last, entry, status.inputs, output_paths(self._upstream), by)
            if stage.is_frozen:
                outcome, reason = Outcome.UNCHANGED, "frozen in dvc.yaml: the result is the one in dvc.lock"
            executed_in = by["run_id"] if by else None
            states = self._states_of(stage, entry)
            return Ending(outcome, reason, executed_in, stage.lock_file, entry, status.published, states)

    def _execute(self, workspace: DvcWorkspace, status: StageStatus) -> Ending:
        """Run the stage's command on its inputs."""
        with workspace.repo() as repo:
            last = self._project_run.history(repo).last(self._project_run.dag_id, self._settings.name)
        produced = output_paths(self._upstream)
        outcome, reason = explain(last, None, status.inputs, produced, None, status.cause)
        log.info("Stage %s runs (%s)", self._settings.name, reason)
        # What is known may not be used, so DVC must not find it either.
        options = WHATEVER_IS_KNOWN if self._force else " --no-run-cache" if status.cause else ""
        lock_file = status.stage.lock_file
        entry = self._repro(workspace, lock_file, options)
        stage = self._commit(workspace, entry)
        if self._force:
            reason = f"{reason}; {reproduction(status.known, entry)}"
        with workspace.repo():
            published, states = published_by(stage, self._settings, entry), self._states_of(stage, entry)
        return Ending(outcome, reason, self._project_run.run_id, lock_file, entry, published, states)

    def _repro(self, workspace: DvcWorkspace, lock_file: str, options: str) -> LockEntry:
        """Fetch the inputs, and only those, and run ``dvc repro``.

        :return: the stage's new lock entry.
        """

        def fetch_inputs() -> None:
            with workspace.repo() as repo:
                ResolvedStage(Objects(repo, self._states), self._settings.name).fetch_inputs()

        reproducing_missing(fetch_inputs, self._producer_of)
        self._runner.run(f"{self._settings.repro}{options}", self._settings.environment(), workspace.path)
        entry = read_entry(workspace.path / lock_file, self._settings.short_name)
        if entry is None:
            raise TaskError(f"stage {self._settings.name}: dvc repro wrote no entry in {lock_file}.")
        # DVC has written a lock with this stage alone; what follows needs the ones before it as well.
        workspace.write_lock(merge_locks([self._upstream, {lock_file: {self._settings.short_name: entry}}]))
        return entry

    def _commit(self, workspace: DvcWorkspace, entry: LockEntry) -> ResolvedStage:
        """Put what the stage made into the cache, and check what it read; where no cache is shared, push it."""
        name = self._settings.name
        with workspace.repo() as repo:
            stage = ResolvedStage(Objects(repo, self._states), name)
            if missing := stage.commit(entry):
                raise CorruptedCacheError(
                    f"stage {name} made {', '.join(missing)}, which the cache had corrupted. It is removed from there; "
                    "the stage has to run again."
                )
            if misread := stage.misread(entry):
                raise TaskError(f"stage {name} did not read the outputs of the stages before it: {', '.join(misread)}.")
            if self._project_run.cache_dir is None:
                push_outputs(stage.objects, outputs_to_push(repo, [name]))
                RunCache(repo).push([entry])
        return stage

    def _remember(self, workspace: DvcWorkspace, status: StageStatus, ending: Ending, memo_key: MemoKey | None) -> None:
        """Record the result for later runs."""
        run, name = self._project_run, self._settings.name
        if ending.outcome is not Outcome.UNCHANGED:
            with workspace.repo() as repo:
                executed = ending.outcome is Outcome.EXECUTED
                run.history(repo).record(run.dag_id, run.run_id, name, ending.entry, executed=executed)
        if status.key and ending.states:
            self._memo.keep_file_states(ending.entry, ending.states)
            if memo_key:
                known = MemoEntry(status.inputs, ending.entry, ending.lock_file, ending.states, ending.published)
                self._memo.keep(memo_key, known)

    def _states_of(self, stage: ResolvedStage, entry: LockEntry) -> dict[str, FileState] | None:
        """How the objects of a result lie in the shared cache; None if not all are there."""
        if self._project_run.cache_dir is None:
            return None
        cache = stage.objects.cache
        own = objects_of(stage.objects, stage.outputs(entry))
        return self._states.of(map(cache.path, own)) if own and all(cache.has(one) for one in own) else None

    def _fingerprint(self, project_dir: Path) -> Fingerprint:
        return Fingerprint(
            project_dir, self._settings.name, self._settings.definitions, self._project_run.files, self._upstream
        )

    def _memo_key(self, workspace: DvcWorkspace, status: StageStatus) -> MemoKey | None:
        sources = status.stage.sources()
        if self._project_run.cache_dir is None or status.key is None or sources is None:
            return None
        return self._fingerprint(workspace.path).with_sources(sources)
