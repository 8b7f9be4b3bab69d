"""Where the files of a workspace come from: the project's folder as it is now. See `run_code` for those of a run."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, Protocol

from dvc_airflow.git_checkout import git_checkout_of
from dvc_airflow.inputs import Inputs
from dvc_airflow.lockfile import read_entry
from dvc_airflow.project_files import Content, project_content, tracked_files

Put = Callable[[str, Path], None]


class ProjectCode(Protocol):
    """The code of a project."""

    @property
    def dvc_config(self) -> str | None:
        """The text of .dvc/config, without secrets; None: the file of the project's folder."""

    @property
    def tracked(self) -> frozenset[str]:
        """What git tracks of the project."""

    def content(self, sources: Sequence[str], outputs: Collection[str]) -> Content:
        """See `dvc_airflow.project_files.project_content`."""

    def leads_to(self, path: str) -> str | None:
        """Where a link to a folder leads: a path in the project, or an absolute one; None: it is none."""

    def putting(self, inputs: Inputs, workspace: Path) -> AbstractContextManager[Put]:
        """What puts files into a workspace: by path, and where they go. It raises OSError for one that it cannot."""

    def locked(self, lock_file: str, stage: str) -> Mapping[str, Any] | None:
        """The entry of a frozen stage in the project's own lock file; None if there is none."""

    def lend_git(self, workspace: Path) -> None:
        """Let git in a workspace read the project's history, if it is there."""


class FolderCode:
    """A project's folder as it is now; a `ProjectCode`."""

    dvc_config = None

    def __init__(self, project_dir: Path) -> None:
        self._dir = project_dir

    @property
    def tracked(self) -> frozenset[str]:
        """See `ProjectCode`."""
        return tracked_files(self._dir)

    def content(self, sources: Sequence[str], outputs: Collection[str]) -> Content:
        """See `ProjectCode`."""
        return project_content(self._dir, sources, outputs)

    def leads_to(self, path: str) -> str | None:
        """See `ProjectCode`."""
        file = self._dir / path
        if not file.is_dir():
            return None
        led_to, root = file.resolve(), self._dir.resolve()
        return led_to.relative_to(root).as_posix() if led_to.is_relative_to(root) else str(led_to)

    @contextmanager
    def putting(self, inputs: Inputs, workspace: Path) -> Iterator[Put]:
        """See `ProjectCode`."""
        yield lambda path, target: inputs.put(self._dir / path, target, workspace)

    def locked(self, lock_file: str, stage: str) -> Mapping[str, Any] | None:
        """See `ProjectCode`."""
        return read_entry(self._dir / lock_file, stage)

    def lend_git(self, workspace: Path) -> None:
        """See `ProjectCode`."""
        if checkout := git_checkout_of(self._dir):
            checkout.lend(workspace, self._dir)


class NoCode(FolderCode):
    """For a workspace that is only to reach the remote; a `ProjectCode`."""

    def content(self, sources: Sequence[str], outputs: Collection[str]) -> Content:
        """Nothing."""
        return Content((), ())
