"""The push of what the stages of a run made, with proof; without Airflow."""

import logging
from collections.abc import Sequence

from dvc_airflow.command import CommandRunner, Environment, base_environment
from dvc_airflow.dvc.objects import Objects
from dvc_airflow.dvc.outputs import objects_of, outputs_to_push, push_outputs
from dvc_airflow.dvc.remote import RemoteFolder, address, has_remote, watched
from dvc_airflow.dvc.repo import DvcWorkspace
from dvc_airflow.dvc.run_cache import RunCache
from dvc_airflow.dvc_config import no_remote
from dvc_airflow.errors import TaskError
from dvc_airflow.lockfile import merge_locks
from dvc_airflow.project_run import ProjectRun
from dvc_airflow.reproduce import FindProducer, no_producer, reproducing_missing
from dvc_airflow.result import PushResult, StageResult
from dvc_airflow.run_locks import RunLocks

log = logging.getLogger(__name__)


class PushRun:
    """``dvc push`` of all that the stages of a run made, and the proof that the remote has it.

    :param stages: how they ended.
    :param command: the bash command that pushes.
    :param environment: gives all that the command's process gets.
    :param producer_of: finds the task of a stage whose output is missing.
    :param runner: runs the command; give one of your own to be able to end the command.
    """

    def __init__(
        self,
        run: ProjectRun,
        stages: Sequence[StageResult],
        *,
        command: str = "dvc push",
        environment: Environment = base_environment,
        producer_of: FindProducer = no_producer,
        runner: CommandRunner | None = None,
    ) -> None:
        self._project_run, self._command, self._environment = run, command, environment
        self._producer_of, self._runner = producer_of, runner or CommandRunner()
        self._stages = [result.stage for result in stages]
        self._lock = merge_locks(result.lock for result in stages)

    def run(self) -> PushResult:
        """Prove, push what is missing, prove again; then push what others find the results by.

        That is the run-cache's entries, for runs, and the run's lock files, for checkouts.

        Into S3 objects are streamed first, and the command finds them there; other remotes it fills by itself. Where
        the remote proves to have everything already, no command is run.

        :raises TaskError: it cannot go on; with what to do.
        """
        with self._project_run.workspace(self._lock) as workspace:
            with workspace.repo() as repo:
                if not has_remote(repo):
                    raise TaskError(no_remote(self._project_run.project_dir))
            missing = reproducing_missing(lambda: self._stream(workspace), self._producer_of)
            if missing:
                with workspace.repo() as repo, watched(repo, self._runner.end):
                    self._runner.run(self._command, self._environment(), workspace.path)
                workspace.refresh()
            return reproducing_missing(lambda: self._prove(workspace, missing), self._producer_of)

    def _stream(self, workspace: DvcWorkspace) -> int:
        """Push what the remote lacks by a client that takes little memory, where there is one for the remote.

        :return: how many objects it lacked.
        """
        with workspace.repo() as repo:
            objects = Objects(repo)
            missing = objects.remote.missing(objects_of(objects, outputs_to_push(repo, self._stages)))
            if missing:
                log.info("The remote lacks %s objects of this run", len(missing))
                objects.remote.stream(missing)
            return len(missing)

    def _prove(self, workspace: DvcWorkspace, pushed: int) -> PushResult:
        """Push also what `dvc push` leaves out: it takes a folder's list as proof of its files."""
        with workspace.repo() as repo:
            sizes = push_outputs(Objects(repo), outputs_to_push(repo, self._stages))
            RunCache(repo).push(entry for stages in self._lock.values() for entry in stages.values())
            run_locks = RunLocks(RemoteFolder(repo), address(repo))
            run_locks.keep(self._project_run.dag_id, self._project_run.run_id, self._lock)
            count, size = len(sizes), sum(sizes.values())
            log.info("%s objects (%s bytes) of this run are in %s", count, size, address(repo))
        return PushResult(objects=count, bytes=size, pushed=pushed, remote_url=self._project_run.remote_url)
