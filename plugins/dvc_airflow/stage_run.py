"""The life of a stage in a run, without Airflow. `StageRun.run` is the place to start reading."""

import logging
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial

from dvc_airflow.command import CommandRunner
from dvc_airflow.dvc.object import Object
from dvc_airflow.dvc.repo import DvcWorkspace
from dvc_airflow.dvc.resolve import run_cache_key
from dvc_airflow.dvc.run_cache import RunCache
from dvc_airflow.errors import RemoteError
from dvc_airflow.execution import NO_RUN_CACHE, WHATEVER_IS_KNOWN, Execution
from dvc_airflow.explain import Explanation, reproduction
from dvc_airflow.lockfile import Lock, LockEntry, digest
from dvc_airflow.project_run import ProjectRun
from dvc_airflow.reproduce import FindProducer, no_producer, reproducing_missing
from dvc_airflow.result import StageResult
from dvc_airflow.stage_memory import StageMemory
from dvc_airflow.stage_settings import StageSettings
from dvc_airflow.status import StageStatus, published_by, stage_status

log = logging.getLogger(__name__)


class StageRun:
    """One stage in one run.

    :param upstream: the lock entries of the stages whose outputs it reads.
    :param force: execute it whatever is known, and say whether it reproduced.
    :param producer_of: finds the task of an earlier stage whose output is missing.
    :param runner: runs the command; give one of your own to be able to end the command.
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
        self._run, self._settings, self._upstream, self._force = run, settings, upstream, force
        self._producer_of = producer_of
        self._memory = StageMemory(run, settings, upstream)
        self._execution = Execution(
            run,
            settings,
            upstream,
            states=self._memory.states,
            producer_of=producer_of,
            runner=runner or CommandRunner(),
        )
        self._started_at, self._began = datetime.now(UTC), time.monotonic()

    def run(self) -> StageResult:
        """Look up the stage; execute it only if no result of the same inputs is known and still there.

        :raises TaskError: it cannot go on; with what to do.
        """
        # A result of exactly the same files needs neither a workspace nor DVC.
        if not self._force and (recalled := self._memory.recall()):
            known, explanation = recalled
            self._memory.keep_recalled(known, explanation.outcome)
            return self._result(explanation, known.lock_file, known.entry, known.published)
        with self._workspace() as workspace, ExitStack() as lock:
            # The run-cache's key, and an earlier result with that key that is still intact.
            status = self._look_up(workspace)
            # Of several runs that need the same result at the same time, one executes the stage.
            if status.usable is None and self._may_be_overtaken(workspace, status, lock):
                status = self._look_up(workspace)
            # As the files are before the stage runs: the project may change while it does.
            memo_key = self._memory.key(workspace, status)
            if status.usable is not None:
                result = self._reuse(workspace, status, status.usable)
            else:
                status, result = self._execute(workspace, status)
            self._memory.keep(workspace, status, result, memo_key)
        return result

    def reproduce(self, known: StageResult, missing: Sequence[Object]) -> None:
        """Execute the stage once more, for a later one that finds its outputs missing.

        Once, if several find that at the same time. Other outputs may differ then; their earlier objects are still
        there.

        :param known: how the stage ended in this run.
        """
        key = run_cache_key(known.entry)
        with self._workspace() as workspace, self._memory.exclusive(key):
            if not self._execution.has(workspace, missing):  # no other task has reproduced it meanwhile
                self._execution.execute(workspace, known.lock_file, WHATEVER_IS_KNOWN)

    def _workspace(self) -> DvcWorkspace:
        return self._run.workspace(self._upstream, self._settings.sources, self._settings.outputs)

    def _look_up(self, workspace: DvcWorkspace) -> StageStatus:
        memory = self._memory
        look_up = partial(
            stage_status, workspace, self._settings, memory.memo, memory.states, memory.last, force=self._force
        )
        return reproducing_missing(look_up, self._producer_of)

    def _may_be_overtaken(self, workspace: DvcWorkspace, status: StageStatus, lock: ExitStack) -> bool:
        """Take the lock of the key. :return: whether another run may have made the result before we had it."""
        if status.key is None or self._run.cache_dir is None:
            return False
        if status.stage.has_persistent_outputs:  # each execution goes on from the one before
            lock.enter_context(self._memory.exclusive(digest([self._run.dag_id, self._settings.history_name])))
            return not self._force
        if self._force:
            return False
        has_waited = lock.enter_context(self._memory.exclusive(status.key))
        return has_waited or status.cause is not None or status.may_be_outdated(workspace)

    def _reuse(self, workspace: DvcWorkspace, status: StageStatus, entry: LockEntry) -> StageResult:
        """Use an earlier result instead of executing the stage."""
        explanation = self._memory.explain(workspace, status)
        if self._run.cache_dir is None and status.is_in_run_cache:
            try:
                with workspace.repo() as repo:  # dated anew, for a garbage collection: it is in use
                    RunCache(repo).push([entry])
            except RemoteError as error:  # it may only be read
                log.info("The run-cache entry in the remote is not dated anew: %s", error)
        return self._result(explanation, status.stage.lock_file, entry, status.published)

    def _execute(self, workspace: DvcWorkspace, status: StageStatus) -> tuple[StageStatus, StageResult]:
        """Run the stage's command on its inputs.

        :return: the status with the stage as it is afterwards, and the result.
        """
        outcome, reason, _ = self._memory.explain(workspace, status)
        log.info("Stage %s runs (%s)", self._settings.name, reason)
        # What is known may not be used, so DVC must not find it either.
        options = WHATEVER_IS_KNOWN if self._force else NO_RUN_CACHE if status.cause else ""
        lock_file = status.stage.lock_file
        if status.stage.has_persistent_outputs and (lost := self._carry_over(workspace)):
            reason = f"{reason}; {lost}"
        entry, stage = self._execution.execute(workspace, lock_file, options)
        if self._force:
            reason = f"{reason}; {reproduction(status.known, entry)}"
        with workspace.repo():
            published = published_by(stage, self._settings, entry)
        result = self._result(Explanation(outcome, reason, self._run.run_id), lock_file, entry, published)
        return replace(status, stage=stage), result

    def _carry_over(self, workspace: DvcWorkspace) -> str | None:
        """Let the stage go on with what it made last. :return: why it cannot."""
        with workspace.repo() as repo:
            last = self._memory.last(repo)
        return self._execution.carry_over(workspace, last) if last else None

    def _result(
        self, explanation: Explanation, lock_file: str, entry: LockEntry, published: Mapping[str, str]
    ) -> StageResult:
        log.info("Stage %s: %s (%s)", self._settings.name, explanation.outcome, explanation.reason)
        return StageResult(
            stage=self._settings.name,
            outcome=explanation.outcome,
            reason=explanation.reason,
            started_at=self._started_at.isoformat(timespec="seconds"),
            seconds=round(time.monotonic() - self._began, 2),
            executed_in=explanation.executed_in,
            lock={lock_file: {self._settings.short_name: dict(entry)}},
            published=dict(published),
        )
