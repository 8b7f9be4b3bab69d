"""A stage's execution in a workspace: fetch its inputs, run ``dvc repro``, commit what it made."""

import logging
from collections.abc import Sequence
from functools import partial

from dvc_airflow.command import CommandRunner
from dvc_airflow.dvc.object import MissingObjectsError, Object
from dvc_airflow.dvc.objects import Objects
from dvc_airflow.dvc.outputs import outputs_to_push, push_outputs
from dvc_airflow.dvc.repo import DvcWorkspace
from dvc_airflow.dvc.resolve import ResolvedStage
from dvc_airflow.dvc.run_cache import RunCache
from dvc_airflow.errors import CorruptedCacheError, UnexpectedResultError
from dvc_airflow.failure import CommandError
from dvc_airflow.files import FileStates
from dvc_airflow.lockfile import Lock, LockEntry, merge_locks, read_entry
from dvc_airflow.project_run import ProjectRun
from dvc_airflow.refusals import refuse_execution
from dvc_airflow.remedy import find_remedy, unpassed_variables
from dvc_airflow.reproduce import FindProducer, reproducing_missing
from dvc_airflow.stage_settings import StageSettings
from dvc_airflow.undeclared import Snapshot, shown

log = logging.getLogger(__name__)

# Options of `dvc repro`: not to use a known result.
NO_RUN_CACHE = " --no-run-cache"
WHATEVER_IS_KNOWN = " --force --no-run-cache"


def began_anew(error: MissingObjectsError) -> str:
    """What to say of a stage whose persistent outputs are missing."""
    return f"{error}, so it began anew"


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
        reproducing_missing(partial(self._prepare, workspace), self._producer_of)
        before = Snapshot(workspace.path)
        self._run_command(workspace, f"{self._settings.repro}{options}", before)
        entry = self._read_entry(workspace, lock_file)
        stage = self._commit(workspace, entry)
        if left := before.left({*self._settings.outputs, *stage.output_paths}):
            log.warning(
                "Stage %s left what dvc.yaml does not declare as its outputs: %s. It goes with the task's workspace. "
                "What is needed belongs in the outs, metrics or plots of the stage.",
                self._settings.name,
                shown(left),
            )
        return entry, stage

    def carry_over(self, workspace: DvcWorkspace, last: LockEntry) -> str | None:
        """Put the persistent outputs of the last result into the workspace: the command goes on with them.

        :return: why they could not be had; the stage then begins anew, as in a checkout that has lost them.
        """
        try:
            with workspace.repo() as repo:
                ResolvedStage(Objects(repo, self._states), self._settings.name).restore_persistent(last)
        except MissingObjectsError as error:
            log.warning("%s. Stage %s goes on without what it had made so far.", error, self._settings.name)
            return began_anew(error)
        return None

    def has(self, workspace: DvcWorkspace, objects: Sequence[Object]) -> bool:
        """Whether the cache has all of these objects intact."""
        with workspace.repo() as repo:
            cache = Objects(repo, self._states).cache
            return all(cache.has(one) for one in objects)

    def _prepare(self, workspace: DvcWorkspace) -> None:
        """Give the command what it finds in a checkout: its inputs, and no others; folders; git's history.

        :raises TaskError: the command could not do its work.
        """
        with workspace.repo() as repo:
            stage = ResolvedStage(Objects(repo, self._states), self._settings.name)
            refuse_execution(workspace, self._settings, stage)
            stage.fetch_inputs()
            stage.make_folders()
        if not (workspace.path / ".git").exists():
            workspace.code.lend_git(workspace.path)

    def _run_command(self, workspace: DvcWorkspace, command: str, before: Snapshot) -> None:
        environment = self._settings.environment()
        for variable in unpassed_variables(str(self._settings.command), environment):
            log.warning(
                'The command of stage %s uses $%s, which the worker has and the stage does not get: env=["%s"] of the '
                "task group passes it on.",
                self._settings.name,
                variable,
                variable,
            )
        try:
            self._runner.run(command, environment, workspace.path)
        except CommandError as error:
            failure = error.failure.seen_from(workspace.path)
            self._refuse_spoiled(workspace, failure.cause or "")
            left = before.left(self._settings.outputs)
            raise CommandError(failure, find_remedy(workspace, self._settings, environment, failure, left)) from None
        self._refuse_spoiled(workspace)

    def _refuse_spoiled(self, workspace: DvcWorkspace, said: str = "") -> None:
        """:raises UnexpectedResultError: the stage, or another task, wrote to an input that tasks share."""
        if spoiled := workspace.inputs.spoiled(said):
            what = f"stage {self._settings.name} may not write to it ({said})" if said else "it was written to"
            raise UnexpectedResultError(
                f"{', '.join(spoiled)} is shared with other tasks, and {what} while the stage ran. The next try gets a "
                "copy of its own."
            )

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
