"""The push of what the stages of a run made, with proof; without Airflow."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from threading import Event, Thread

from dvc_airflow.command import CommandRunner, Environment, base_environment
from dvc_airflow.dvc.objects import Objects
from dvc_airflow.dvc.outputs import objects_of, outputs_to_push, push_outputs
from dvc_airflow.dvc.remote import RemoteFolder, address, has_remote, probe
from dvc_airflow.dvc.repo import DvcWorkspace
from dvc_airflow.dvc.run_cache import RunCache
from dvc_airflow.dvc_config import no_remote
from dvc_airflow.errors import RemoteError, TaskError
from dvc_airflow.failure import CommandError
from dvc_airflow.lockfile import merge_locks
from dvc_airflow.project_run import ProjectRun
from dvc_airflow.reproduce import FindProducer, no_producer, reproducing_missing
from dvc_airflow.result import PushResult, StageResult
from dvc_airflow.run_locks import RunLocks

log = logging.getLogger(__name__)

WATCH_SECONDS = 5
SILENT_PROBES = 2  # after so many without an answer, the remote counts as silent


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

        Where the remote proves to have everything already, no command is run.

        :raises TaskError: it cannot go on; with what to do.
        """
        with self._project_run.workspace(self._lock) as workspace:
            with workspace.repo() as repo:
                if not has_remote(repo):
                    raise TaskError(no_remote(self._project_run.project_dir))
            missing = reproducing_missing(lambda: self._count_missing(workspace), self._producer_of)
            if missing:
                log.info("The remote lacks %s objects of this run", missing)
                with self._watched(workspace):
                    self._runner.run(self._command, self._environment(), workspace.path)
                workspace.refresh()
            return reproducing_missing(lambda: self._prove(workspace, missing), self._producer_of)

    def _count_missing(self, workspace: DvcWorkspace) -> int:
        with workspace.repo() as repo:
            objects = Objects(repo)
            return len(objects.remote.missing(objects_of(objects, outputs_to_push(repo, self._stages))))

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

    @contextmanager
    def _watched(self, workspace: DvcWorkspace) -> Iterator[None]:
        """End the command if the remote falls silent: DVC would try every object before it gives up.

        :raises RemoteError: the remote fell silent, and the command failed.
        """
        stop = Event()
        failures: list[RemoteError] = []

        def watch() -> None:
            while len(failures) < SILENT_PROBES and not stop.wait(WATCH_SECONDS):
                try:
                    probe(repo)
                    failures.clear()
                except RemoteError as error:
                    failures.append(error)
            if len(failures) == SILENT_PROBES:
                self._runner.end()

        with workspace.repo() as repo:
            Thread(target=watch, daemon=True).start()
            try:
                yield
            except CommandError:
                if len(failures) == SILENT_PROBES:
                    raise failures[-1] from None
                raise
            finally:
                stop.set()
