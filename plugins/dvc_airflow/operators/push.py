"""`DvcPushOperator`: the push of what the stages of a run made, with proof."""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event, Thread
from typing import TYPE_CHECKING, Any

from airflow.sdk.exceptions import AirflowException

from dvc_airflow.lock import merge_locks
from dvc_airflow.objects import Objects
from dvc_airflow.operators.base import DvcOperator
from dvc_airflow.outputs import objects_of, outputs_to_push, push_all, push_run_cache
from dvc_airflow.process_group import end_group
from dvc_airflow.remote import RemoteError, explained, remote_odb
from dvc_airflow.repo import open_repo

if TYPE_CHECKING:
    from airflow.sdk import Context

WATCH_SECONDS = 5


class DvcPushOperator(DvcOperator):
    """``dvc push`` of all that the stages of this run made, and the proof that the remote has it.

    Where the remote proves to have everything already, there is nothing to run. Returns ``objects`` and ``bytes`` that
    the remote holds for this run, ``pushed`` (how many of them it lacked), and ``remote_url``.
    """

    ui_color = "#d5ecf4"

    def __init__(self, **kwargs: Any) -> None:
        kwargs.setdefault("bash_command", "dvc push")
        kwargs.setdefault("trigger_rule", "none_failed")
        super().__init__(**kwargs)

    def work(self, context: "Context") -> dict[str, Any]:
        """Prove, push what is missing, prove again; then push the run-cache entries, so that others can restore."""
        results = self.upstream_results(context)
        lock, stages = merge_locks(result["lock"] for result in results), [result["stage"] for result in results]
        with self.workspace(lock) as workspace:

            def absent() -> int:
                with open_repo(workspace, self.credentials) as repo:
                    objects = Objects(repo)
                    return len(objects.absent_from_remote(objects_of(objects, outputs_to_push(repo, stages))))

            def push() -> tuple[int, int, str]:
                with open_repo(workspace, self.credentials) as repo:
                    objects = Objects(repo)
                    sizes = push_all(objects, outputs_to_push(repo, stages))
                    push_run_cache(repo, [entry for stages in lock.values() for entry in stages.values()])
                    return len(sizes), sum(sizes.values()), objects.address

            missing = self.with_lost_made_again(context, absent)
            if missing:
                self.log.info("The remote lacks %s objects of this run", missing)
                with open_repo(workspace, self.credentials) as repo, self._watched(repo):
                    self.run_bash(context, workspace)
            count, size, where = self.with_lost_made_again(context, push)
        self.log.info("%s objects (%s bytes) of this run are in %s", count, size, where)
        return {"objects": count, "bytes": size, "pushed": missing, "remote_url": self.remote_url}

    @contextmanager
    def _watched(self, repo: Any) -> Iterator[None]:
        """End the command if the remote falls silent: DVC would try every object before it gives up.

        :raises RemoteError: the remote fell silent, and the command failed.
        """
        stop = Event()
        failures: list[RemoteError] = []

        def watch() -> None:
            while len(failures) < 2 and not stop.wait(WATCH_SECONDS):
                try:
                    with explained(repo):
                        odb = remote_odb(repo)
                        odb.fs.exists(odb.fs.join(odb.path, "probe"))
                    failures.clear()
                except RemoteError as error:
                    failures.append(error)
            process = self.subprocess_hook.sub_process
            if len(failures) == 2 and process is not None and process.returncode is None:
                end_group(process.pid)

        thread = Thread(target=watch, daemon=True)
        thread.start()
        try:
            yield
        except AirflowException:
            if len(failures) == 2:
                raise failures[-1] from None
            raise
        finally:
            stop.set()
