"""`DvcOperator`: what the operators share. Airflow's side of a task that works on a DVC project."""

import gc
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator, XComArg
from airflow.sdk.exceptions import AirflowException, AirflowFailException, AirflowSkipException

from dvc_airflow.arguments import project_path, require_functions
from dvc_airflow.code_store import CodeStore
from dvc_airflow.connections import RemoteAccess, remote_access
from dvc_airflow.dvc_config import DvcConfig
from dvc_airflow.errors import ResultError, TaskError
from dvc_airflow.project_run import ProjectRun

if TYPE_CHECKING:
    from airflow.sdk import Context


# After which a Connection is read again: its keys may have been renewed while a stage ran.
ACCESS_SECONDS = 300.0


class DvcOperator(BaseOperator):
    """A task that works on a DVC project, as its run sees it.

    :param project_dir: root of the DVC project; a relative path counts from the folder of the DAG's file.
    :param files: texts that take the place of the project's files in the workspace. (templated: an XComArg)
    :param code: which code the tasks of the run have, see `dvc_airflow.result.PackedCode`: the field ``code`` of what
        `DvcPrepareOperator` returned; None: that of ``project_dir`` as it is when the task runs. (templated: an
        XComArg)
    :param remote_url: the DVC remote; None: the one of the project's .dvc/config. (templated: an XComArg)
    :param remote_conn_id: the Airflow Connection by which the DVC remote is reached, such as ``aws_default``, see
        `dvc_airflow.connections`.
    :param cache_dir: the DVC cache that tasks share, or a function that gives it, called in the worker. Where it is
        None, tasks share none: each has an empty one of its own, and what it makes goes to the remote at once.
    :param credentials: options of the DVC remote, in memory only; called in the worker.
    :param remote_options: further options of the DVC remote, without secrets, for DVC's own processes too: they are
        written into the workspace and win over those of the project's .dvc/config. Called in the worker. An S3 remote
        for which neither names ``connect_timeout`` or ``read_timeout`` gets those of
        `dvc_airflow.dvc_config.S3_TIMEOUTS`.
    """

    # Not bash_command: a stage's name is not a template, and no value that a run brings may reach a shell.
    template_fields: Sequence[str] = ("files", "code", "remote_url")
    template_ext: Sequence[str] = ()
    ui_color = "#d5ecf4"

    def __init__(
        self,
        *,
        project_dir: Path | str,
        files: Any = None,
        code: Any = None,
        remote_url: Any = None,
        remote_conn_id: str | None = None,
        cache_dir: Path | str | Callable[[], Path | str | None] | None = None,
        credentials: Callable[[], Mapping[str, Any]] = dict,
        remote_options: Callable[[], Mapping[str, Any]] = dict,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        dag = self.get_dag()
        self.project_dir = project_path(project_dir, dag.fileloc if dag else None)
        self.files = files
        self.code = code
        self.remote_url = remote_url
        self.remote_conn_id = remote_conn_id
        given = {"files": files, "code": code, "remote_url": remote_url}
        # By name, the tasks that provide it.
        self._required = {name: _providers(value) for name, value in given.items() if value is not None}
        require_functions(credentials=credentials, remote_options=remote_options)
        self.cache_dir = cache_dir
        self.credentials = credentials
        self.remote_options = remote_options
        self._access = RemoteAccess()
        self._access_read = -ACCESS_SECONDS

    def execute(self, context: "Context") -> dict[str, Any]:
        """Do the work of the task; errors become messages for people.

        :raises AirflowFailException: trying again would not help.
        :raises AirflowException: it may pass.
        """
        # What importing DVC and s3fs allocates would have Python look through all of Airflow's objects again and again,
        # which takes half a second each time.
        gc.freeze()
        try:
            return self.work(context)
        except TaskError as error:
            kind = AirflowFailException if error.is_final else AirflowException
            raise kind(f"task {self.task_id}: {error}") from None
        finally:
            gc.unfreeze()

    def work(self, context: "Context") -> dict[str, Any]:
        """What `execute` does.

        :raises TaskError: it cannot go on.
        """
        raise NotImplementedError

    def project_run(self, context: "Context") -> ProjectRun:
        """The project as this run sees it.

        :raises AirflowSkipException: the task that was to give one of them was skipped, as after a branch.
        :raises ResultError: a task that was to give ``files``, ``code`` or ``remote_url`` gave nothing.
        :raises CodeError: the code of the run is missing or damaged.
        """
        for name, providers in self._required.items():
            if getattr(self, name) is None:
                if _are_skipped(context["ti"], providers):
                    raise AirflowSkipException(f"{', '.join(providers)} was skipped, so there is nothing to do")
                raise ResultError(f"{name} is empty: the task that provides it returned nothing. Clear that task.")
        ti, access = context["ti"], self.remote_access()
        cache_dir = self.cache_dir() if callable(self.cache_dir) else self.cache_dir
        run = ProjectRun(
            self.project_dir,
            dag_id=ti.dag_id,
            run_id=ti.run_id,
            files=self.files or {},
            cache_dir=Path(cache_dir) if cache_dir else None,
            remote_url=self.remote_url,
            remote_options={**access.config, **self.remote_options()},
            credentials=lambda: {**self.remote_access().options, **self.credentials()},
        )
        return _with_code(run, self.code)

    def remote_access(self) -> RemoteAccess:
        """How the remote is reached by ``remote_conn_id``; empty where none is named. Called in the worker.

        :raises TaskError: the Connection does not exist, or does not fit the remote.
        """
        if self.remote_conn_id and time.monotonic() - self._access_read > ACCESS_SECONDS:
            remote = DvcConfig(self.project_dir, self.remote_url, {}).of_remote()
            self._access = remote_access(self.remote_conn_id, remote.get("url", ""))
            self._access_read = time.monotonic()
        return self._access


def _providers(value: Any) -> list[str]:
    """The tasks whose results an argument is."""
    return [task.task_id for task, _ in value.iter_references()] if isinstance(value, XComArg) else []


def _are_skipped(ti: Any, task_ids: Sequence[str]) -> bool:
    """Whether tasks of the run, of the same index or of none, were skipped."""
    if not task_ids:
        return False
    states = ti.get_task_states(dag_id=ti.dag_id, task_ids=list(task_ids), run_ids=[ti.run_id]).get(ti.run_id, {})
    return any(states.get(name) == "skipped" for one in task_ids for name in (one, f"{one}_{ti.map_index}"))


def _with_code(run: ProjectRun, code: Any) -> ProjectRun:
    """:param code: which code the run has, see `dvc_airflow.result.PackedCode`; None: not known."""
    pack = code.get("pack") if isinstance(code, Mapping) else None
    return replace(run, code=CodeStore(run).load(str(pack), code.get("git_sha"))) if pack else run
