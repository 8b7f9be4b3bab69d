"""The push of what the stages of a run made, with proof; without Airflow."""

import logging
from collections.abc import Iterable, Sequence
from functools import partial

from dvc_airflow.collecting import say_beside_collections
from dvc_airflow.command import CommandRunner, Environment, base_environment
from dvc_airflow.dvc.objects import Objects
from dvc_airflow.dvc.outputs import has_tracked_data, objects_of, outputs_to_push, push_outputs
from dvc_airflow.dvc.remote import address, has_remote, translated_errors, watched
from dvc_airflow.dvc.repo import DvcWorkspace
from dvc_airflow.dvc.run_cache import RunCache
from dvc_airflow.dvc.s3_folder import folder_of
from dvc_airflow.dvc_config import no_remote
from dvc_airflow.errors import TaskError
from dvc_airflow.lockfile import merge_locks
from dvc_airflow.project_run import ProjectRun
from dvc_airflow.push_memory import PushMemory
from dvc_airflow.reproduce import FindProducer, no_producer, reproducing_missing
from dvc_airflow.result import PushResult, StageResult
from dvc_airflow.run_locks import announce_lock, keep_last

log = logging.getLogger(__name__)


class PushRun:
    """``dvc push`` of all that the stages of a run made, and the proof that the remote has it.

    :param stages: how they ended.
    :param definitions: the project's files from which DVC works out the stages; where they are not known, nothing is
        remembered of a push.
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
        definitions: Iterable[str] = (),
        command: str = "dvc push",
        environment: Environment = base_environment,
        producer_of: FindProducer = no_producer,
        runner: CommandRunner | None = None,
    ) -> None:
        self._project_run, self._command, self._environment = run, command, environment
        self._producer_of, self._runner = producer_of, runner or CommandRunner()
        self._stages = [result.stage for result in stages]
        self._lock = merge_locks(result.lock for result in stages)
        self._memory = PushMemory(run, self._stages, self._lock, definitions)

    def run(self) -> PushResult:
        """Say what the run needs; prove, push what is missing, prove again; then push what others find the results by.

        That is the run-cache's entries, for runs, and the run's lock files, for checkouts.

        Into S3 objects are streamed first, and the command finds them there; other remotes it fills by itself. Where
        the remote proves to have everything already, no command is run; nor is DVC asked, where an earlier push of the
        same results knows what to ask the remote for.

        :raises TaskError: it cannot go on; with what to do.
        """
        if (known := self._memory.prove_again()) is not None:
            return self._result(known.objects, known.bytes, 0, known.where)
        run = self._project_run
        with run.workspace(self._lock) as workspace:
            with workspace.repo() as repo:
                if not has_remote(repo):
                    raise TaskError(no_remote(run.project_dir))
                with translated_errors(repo):
                    folder = folder_of(repo)
                    announce = partial(announce_lock, folder, run.dag_id, run.run_id, self._lock)
                    announced = say_beside_collections(announce, folder)
            missing = reproducing_missing(lambda: self._stream(workspace), self._producer_of)
            if missing:
                with workspace.repo() as repo, watched(repo, self._runner.end):
                    self._runner.run(self._command, self._environment(), workspace.path)
                workspace.refresh()
            return reproducing_missing(lambda: self._prove(workspace, missing, announced), self._producer_of)

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

    def _prove(self, workspace: DvcWorkspace, pushed: int, announced: bytes) -> PushResult:
        """Push also what `dvc push` leaves out: it takes a folder's list as proof of its files."""
        with workspace.repo() as repo:
            objects = Objects(repo)
            sizes = push_outputs(objects, outputs_to_push(repo, self._stages))
            entries = RunCache(repo).push(entry for stages in self._lock.values() for entry in stages.values())
            with translated_errors(repo):
                keep_last(folder_of(repo), self._project_run.dag_id, announced)
            if not has_tracked_data(repo):
                self._memory.keep(sizes, objects.remote.there(entries))
            return self._result(len(sizes), sum(sizes.values()), pushed, address(repo))

    def _result(self, count: int, size: int, pushed: int, where: str) -> PushResult:
        log.info("%s objects (%s bytes) of this run are in %s", count, size, where)
        return PushResult(objects=count, bytes=size, pushed=pushed, remote_url=self._project_run.remote_url)
