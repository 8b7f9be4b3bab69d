"""What earlier runs of a stage left, and what this run leaves: memo, history and file states."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from functools import cache
from typing import TYPE_CHECKING

from dvc_airflow.dvc.outputs import objects_of
from dvc_airflow.dvc.repo import DvcWorkspace
from dvc_airflow.dvc.resolve import ResolvedStage
from dvc_airflow.explain import Explanation, explain
from dvc_airflow.files import FileState, FileStates
from dvc_airflow.history import History
from dvc_airflow.lockfile import Lock, LockEntry, output_paths
from dvc_airflow.memo import Fingerprint, Memo, MemoEntry, MemoKey
from dvc_airflow.project_run import ProjectRun
from dvc_airflow.result import Outcome, StageResult
from dvc_airflow.stage_settings import StageSettings
from dvc_airflow.status import StageStatus

if TYPE_CHECKING:
    from dvc.repo import Repo

FROZEN = "frozen in dvc.yaml: the result is the one in dvc.lock"


class StageMemory:
    """The memory of one stage.

    ``states`` are those of the cache files whose content this task, or one before, has found to be right.

    :param upstream: the lock entries of the stages whose outputs it reads.
    """

    def __init__(self, run: ProjectRun, settings: StageSettings, upstream: Lock) -> None:
        self._run, self._settings, self._upstream = run, settings, upstream
        self.memo, self.states = Memo(run.cache_dir), FileStates()

    def recall(self) -> tuple[MemoEntry, Explanation] | None:
        """A result of exactly the same files, if the memo has one that may be used."""
        history = self._run.shared_history()
        if history is None or self._settings.is_frozen:
            return None
        known = self.memo.recall(self._fingerprint())
        if known is None or known.published.keys() != set(self._settings.publish):
            return None
        if self._settings.unusable(known.published):
            return None
        return known, self._explain(history, known.inputs, known.entry)

    def keep_recalled(self, known: MemoEntry, outcome: Outcome) -> None:
        """Let the history know of a result that was recalled."""
        if history := self._run.shared_history():
            self._record(history, outcome, known.entry)

    def explain(self, workspace: DvcWorkspace, status: StageStatus) -> Explanation:
        """How the stage ends, by what is known of it, and why. See `dvc_airflow.explain.explain`."""
        with workspace.repo() as repo:
            explanation = self._explain(self._run.history(repo), status.inputs, status.usable, status.cause)
        if status.stage.is_frozen:
            return Explanation(Outcome.UNCHANGED, FROZEN, explanation.executed_in)
        return explanation

    def last(self, repo: "Repo") -> LockEntry | None:
        """The stage's last result in this DAG, if that is known."""
        return self._run.history(repo).last(self._run.dag_id, self._settings.history_name)

    def exclusive(self, key: str) -> AbstractContextManager[bool]:
        """See `Memo.exclusive`."""
        return self.memo.exclusive(key)

    def key(self, workspace: DvcWorkspace, status: StageStatus) -> MemoKey | None:
        """Under what the memo keeps the result of the stage as its files are now; None if it cannot keep it.

        It cannot where the last result alone counts: the same files may have come back after others.
        """
        if self._run.cache_dir is None or status.key is None or not status.is_in_run_cache:
            return None
        with workspace.repo():
            sources = status.stage.sources()
        return None if sources is None else self._fingerprint(workspace).with_sources(sources)

    def keep(self, workspace: DvcWorkspace, status: StageStatus, result: StageResult, key: MemoKey | None) -> None:
        """Keep the result for later runs.

        :param key: of the memo, as it was before the stage ran.
        """
        with workspace.repo() as repo:
            self._record(self._run.history(repo), result.outcome, result.entry, result.seconds)
            states = self._states_of(status.stage, result.entry) if status.key else None
        if states:
            self.memo.keep_file_states(result.entry, states)
            if key:
                self.memo.keep(key, MemoEntry(status.inputs, result.entry, result.lock_file, states, result.published))

    def _explain(
        self, history: History, inputs: LockEntry, found: LockEntry | None, cause: str | None = None
    ) -> Explanation:
        last = history.last(self._run.dag_id, self._settings.history_name)
        by = history.executed_by(found) if found else None
        return explain(last, found, inputs, output_paths(self._upstream), by, cause)

    def _record(self, history: History, outcome: Outcome, entry: LockEntry, seconds: float | None = None) -> None:
        if outcome is not Outcome.UNCHANGED:
            executed, run, name = outcome is Outcome.EXECUTED, self._run, self._settings.history_name
            history.record(run.dag_id, run.run_id, name, entry, executed=executed, seconds=seconds)

    def _states_of(self, stage: ResolvedStage, entry: LockEntry) -> dict[str, FileState] | None:
        """How the objects of a result lie in the shared cache; None if not all are there."""
        if self._run.cache_dir is None or stage.writes_outside:
            return None
        cache = stage.objects.cache
        own = objects_of(stage.objects, stage.outputs(entry))
        return self.states.of(map(cache.path, own)) if own and all(cache.has(one) for one in own) else None

    def _fingerprint(self, workspace: DvcWorkspace | None = None) -> Fingerprint:
        """Of the stage with the project's files, or with those of a workspace."""
        run, settings = self._run, self._settings

        @cache
        def files() -> Sequence[str]:
            if workspace:
                return workspace.content.files
            return run.source.content(settings.sources, settings.outputs).files

        project_dir = workspace.path if workspace else run.project_dir
        pack = run.code.listed if run.code else None
        return Fingerprint(project_dir, settings.name, settings.definitions, run.files, self._upstream, files, pack)
