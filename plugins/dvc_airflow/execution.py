"""A stage's execution in a workspace: fetch its inputs, run ``dvc repro``, commit what it made."""

from collections.abc import Sequence
from functools import partial

from dvc_airflow.command import CommandRunner
from dvc_airflow.dvc.object import Object
from dvc_airflow.dvc.objects import Objects
from dvc_airflow.dvc.outputs import outputs_to_push, push_outputs
from dvc_airflow.dvc.repo import DvcWorkspace
from dvc_airflow.dvc.resolve import ResolvedStage
from dvc_airflow.dvc.run_cache import RunCache
from dvc_airflow.errors import CorruptedCacheError, UnexpectedResultError
from dvc_airflow.files import FileStates
from dvc_airflow.lockfile import Lock, LockEntry, merge_locks, read_entry
from dvc_airflow.project_run import ProjectRun
from dvc_airflow.reproduce import FindProducer, reproducing_missing
from dvc_airflow.stage_settings import StageSettings

# Options of `dvc repro`: not to use a known result.
NO_RUN_CACHE = " --no-run-cache"
WHATEVER_IS_KNOWN = " --force --no-run-cache"


class Execution:
    """Executes one stage.

    :param upstream: the lock entries of the stages whose outputs it reads.
    :param states: how cache files were when their content was last found to be right. Added to.
    :param producer_of: finds the task of an earlier stage whose output is missing.
    :param runner: runs the command.
    """

    def __init__(
        self,
        run: ProjectRun,
        settings: StageSettings,
        upstream: Lock,
        *,
        states: FileStates,
        producer_of: FindProducer,
        runner: CommandRunner,
    ) -> None:
        self._run, self._settings, self._upstream = run, settings, upstream
        self._states, self._producer_of, self._runner = states, producer_of, runner

    def execute(self, workspace: DvcWorkspace, lock_file: str, options: str = "") -> tuple[LockEntry, ResolvedStage]:
        """Execute the stage.

        :param lock_file: where its entry belongs, relative to the project.
        :param options: of ``dvc repro``.
        :return: its new lock entry, and the stage as it is now.
        :raises TaskError: the command failed, or its result cannot be used.
        """
        reproducing_missing(partial(self._fetch_inputs, workspace), self._producer_of)
        self._runner.run(f"{self._settings.repro}{options}", self._settings.environment(), workspace.path)
        entry = self._read_entry(workspace, lock_file)
        return entry, self._commit(workspace, entry)

    def has(self, workspace: DvcWorkspace, objects: Sequence[Object]) -> bool:
        """Whether the cache has all of these objects intact."""
        with workspace.repo() as repo:
            cache = Objects(repo, self._states).cache
            return all(cache.has(one) for one in objects)

    def _fetch_inputs(self, workspace: DvcWorkspace) -> None:
        """Fetch the inputs of the stage, and only those."""
        with workspace.repo() as repo:
            ResolvedStage(Objects(repo, self._states), self._settings.name).fetch_inputs()

    def _read_entry(self, workspace: DvcWorkspace, lock_file: str) -> LockEntry:
        name = self._settings.short_name
        entry = read_entry(workspace.path / lock_file, name)
        if entry is None:
            raise UnexpectedResultError(
                f"stage {self._settings.name}: `{self._settings.repro}` wrote no entry in {lock_file}. The operator's "
                "bash_command has to run `dvc repro` on the stage."
            )
        # DVC has written a lock with this stage alone; what follows needs the ones before it as well.
        workspace.write_lock(merge_locks([self._upstream, {lock_file: {name: entry}}]))
        return entry

    def _commit(self, workspace: DvcWorkspace, entry: LockEntry) -> ResolvedStage:
        """Put what the stage made into the cache, and check what it read; where no cache is shared, push it."""
        name = self._settings.name
        with workspace.repo() as repo:
            stage = ResolvedStage(Objects(repo, self._states), name)
            if corrupted := stage.commit(entry):
                raise CorruptedCacheError(
                    f"stage {name} made {', '.join(corrupted)}, but the cache had a corrupted copy. The copy was "
                    "removed; the stage has to run again."
                )
            if misread := stage.misread(entry):
                raise UnexpectedResultError(
                    f"stage {name} read inputs that differ from upstream outputs: {', '.join(misread)}. A command must "
                    "not change its dependencies."
                )
            if self._run.cache_dir is None:
                push_outputs(stage.objects, outputs_to_push(repo, [name]))
                RunCache(repo).push([entry])
        return stage
