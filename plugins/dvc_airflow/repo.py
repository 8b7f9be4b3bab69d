"""A workspace, opened with DVC."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import chdir, contextmanager
from typing import TYPE_CHECKING, Any

from dvc_airflow.remote import few_attempts
from dvc_airflow.workspace import Workspace

if TYPE_CHECKING:
    from dvc.repo import Repo


@contextmanager
def open_repo(workspace: Workspace, credentials: Callable[[], Mapping[str, Any]] = dict) -> Iterator["Repo"]:
    """Open the workspace with DVC; it stays open as long as the workspace is there.

    :param credentials: gives options of the remote that stay in memory, never in a file (DVC's names: access_key_id,
        ...).
    """
    from dvc.repo import Repo

    # DVC resolves paths by the cwd.
    with chdir(workspace.path), few_attempts():
        if workspace.repo is None or workspace.is_outdated:
            options = dict(credentials())  # they may have been renewed while a stage ran
            if workspace.repo is not None and options == workspace.repo_options:
                workspace.repo._reset()  # as DVC itself does at the beginning of each command
            else:
                workspace.close_repo()
                remote = {"remote": {workspace.remote_name: options}} if workspace.remote_name else {}
                workspace.repo, workspace.repo_options = Repo(str(workspace.path), config=remote), options
            workspace.is_outdated = False
        yield workspace.repo
