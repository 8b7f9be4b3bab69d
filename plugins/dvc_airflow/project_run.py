"""A DVC project as the tasks of one run see it."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dvc_airflow.dvc.remote import RemoteFolder, has_remote
from dvc_airflow.dvc.repo import DvcWorkspace
from dvc_airflow.dvc_config import DvcConfig, no_remote
from dvc_airflow.errors import CodeError, TaskError
from dvc_airflow.history import CacheFolder, Folder, History
from dvc_airflow.lockfile import Lock
from dvc_airflow.project_code import FolderCode, ProjectCode
from dvc_airflow.run_code import RunCode
from dvc_airflow.stage_settings import StageSettings

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
    :param code: of the run, if it is packed; None: the project's folder as it is now.
    """

    project_dir: Path
    dag_id: str
    run_id: str
    files: Mapping[str, str] = field(default_factory=dict)
    cache_dir: Path | None = None
    remote_url: str | None = None
    remote_options: Mapping[str, Any] = field(default_factory=dict)
    credentials: Callable[[], Mapping[str, Any]] = dict
    code: RunCode | None = None

    @property
    def source(self) -> ProjectCode:
        """Where the files of workspaces come from."""
        return self.code or FolderCode(self.project_dir)

    def dvc_config(self) -> DvcConfig:
        """The DVC configuration of workspaces."""
        return DvcConfig(self.project_dir, self.remote_url, self.remote_options, self.source.dvc_config)

    def as_packed(self, settings: StageSettings, upstream: Collection[str]) -> StageSettings:
        """What DVC said of a stage when the run was prepared, in place of what it says now.

        :param upstream: the stages before it, by the DAG.
        :raises CodeError: the project had no such stage, or it came after others.
        """
        if self.code is None:
            return settings
        listed = self.code.listed
        stage = listed.stage(settings.name)
        if others := sorted(set(stage.upstream) - set(upstream)):
            raise CodeError(
                f"when this run was prepared, stage {settings.name} came after {', '.join(others)}; by dvc.yaml as it "
                "is now it does not. Start a new run; or clear the task that prepared this one, with all that follow."
            )
        return replace(
            settings,
            command=stage.command,
            definitions=tuple(listed.definitions),
            sources=tuple(stage.sources),
            outputs=tuple(listed.outputs),
            is_frozen=stage.frozen,
        )

    def locked_result(self, stage: str, needed_by: str) -> Lock:
        """The result of a stage that the DAG leaves out: the one in the project's dvc.lock.

        :param stage: as ``dvc repro`` takes it.
        :raises TaskError: there is none.
        """
        file, _, name = stage.rpartition(":")
        lock_file = f"{file.removesuffix('dvc.yaml')}dvc.lock"
        entry = self.source.locked(lock_file, name)
        if entry is None:
            raise TaskError(
                f"stage {needed_by} needs what stage {stage} makes, which this DAG leaves out (select, exclude), so "
                f"its result is the one in {lock_file}, which has none. Run `dvc repro {stage}` and `dvc push` in the "
                f"project and commit {lock_file}; or select {stage} too. Then start a new run."
            )
        return {lock_file: {name: entry}}

    def workspace(
        self,
        lock: Lock,
        sources: Sequence[str] = (),
        outputs: Sequence[str] = (),
        code: ProjectCode | None = None,
    ) -> DvcWorkspace:
        """A workspace with these lock entries, see `dvc_airflow.workspace.Workspace`.

        :param code: other than that of the run.
        """
        return DvcWorkspace(
            self.project_dir,
            files=self.files,
            lock=lock,
            sources=sources,
            outputs=outputs,
            remote_url=self.remote_url,
            remote_options=self.remote_options,
            credentials=self.credentials,
            code=code or self.source,
            **self._places(),
        )

    def _places(self) -> dict[str, Any]:
        """Where a workspace and its cache are."""
        return {"cache_dir": self.cache_dir}

    def history(self, repo: "Repo") -> History:
        """The history of the stages, in the shared cache, else in the remote of the opened workspace.

        :raises TaskError: there is neither.
        """
        if history := self.shared_history():
            return history
        if not has_remote(repo):
            raise TaskError(self.nowhere)
        return self._history_in(RemoteFolder(repo))

    @property
    def nowhere(self) -> str:
        """What to do where there is neither a shared cache nor a remote."""
        return (
            "tasks have nowhere to leave their results for each other: they share no DVC cache (cache_dir=), and "
            f"{no_remote(self.project_dir)}"
        )

    def shared_history(self) -> History | None:
        """The history in the shared cache, if there is one."""
        return self._history_in(CacheFolder(self.cache_dir)) if self.cache_dir else None

    def _history_in(self, folder: Folder) -> History:
        return History(folder)
