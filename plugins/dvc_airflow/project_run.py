"""A DVC project as the tasks of one run see it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dvc_airflow.dvc.remote import RemoteFolder, has_remote
from dvc_airflow.dvc.repo import DvcWorkspace
from dvc_airflow.dvc_config import no_remote
from dvc_airflow.errors import TaskError
from dvc_airflow.history import CacheFolder, History
from dvc_airflow.lockfile import Lock

if TYPE_CHECKING:
    from dvc.repo import Repo


@dataclass(frozen=True)
class ProjectRun:
    """The project, the values of this run, and where its data are.

    :param project_dir: root of the DVC project; never written to.
    :param dag_id, run_id: which run this is, for the history.
    :param files: texts that take the place of the project's own files, by relative POSIX path.
    :param cache_dir: the DVC cache that tasks share; None: each has an empty one of its own, and what it makes goes to
        the remote at once.
    :param remote_url: the DVC remote; None: the one of the project's .dvc/config.
    :param remote_options: further options of the remote, without secrets: they are written into the workspace.
    :param credentials: options of the remote that stay in memory.
    """

    project_dir: Path
    dag_id: str
    run_id: str
    files: Mapping[str, str] = field(default_factory=dict)
    cache_dir: Path | None = None
    remote_url: str | None = None
    remote_options: Mapping[str, Any] = field(default_factory=dict)
    credentials: Callable[[], Mapping[str, Any]] = dict

    def workspace(self, lock: Lock, sources: Sequence[str] = (), outputs: Sequence[str] = ()) -> DvcWorkspace:
        """A workspace with these lock entries, see `dvc_airflow.workspace.Workspace`."""
        return DvcWorkspace(
            self.project_dir,
            files=self.files,
            lock=lock,
            sources=sources,
            outputs=outputs,
            cache_dir=self.cache_dir,
            remote_url=self.remote_url,
            remote_options=self.remote_options,
            credentials=self.credentials,
        )

    def history(self, repo: "Repo") -> History:
        """The history of the stages, in the shared cache, else in the remote of the opened workspace.

        :raises TaskError: there is neither.
        """
        if history := self.shared_history():
            return history
        if not has_remote(repo):
            raise TaskError(
                f"tasks have nowhere to leave their results for each other: they share no DVC cache (cache_dir=), and "
                f"{no_remote(self.project_dir)}"
            )
        return History(RemoteFolder(repo))

    def shared_history(self) -> History | None:
        """The history in the shared cache, if there is one."""
        return History(CacheFolder(self.cache_dir)) if self.cache_dir else None
