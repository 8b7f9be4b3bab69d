"""A workspace opened with DVC."""

import logging
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import chdir, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dvc_airflow.dvc.packages import missing_package
from dvc_airflow.dvc.remote import few_attempts
from dvc_airflow.errors import DvcError, MissingPackageError
from dvc_airflow.lockfile import Lock
from dvc_airflow.workspace import Workspace

if TYPE_CHECKING:
    from dvc.repo import Repo

log = logging.getLogger(__name__)

SITE_CACHE = "DVC_SITE_CACHE_DIR"
# The modules of DVC's errors that mean: a dvc.yaml, a params file or a lock is wrong.
FINAL_DVC_ERRORS = ("dvc.parsing", "dvc.utils.strictyaml", "dvc.utils.serialize", "dvc.dependency.param", "dvc.output")


class DvcWorkspace(Workspace):
    """A workspace that DVC opens, once. The parameters are those of `Workspace`, and:

    :param credentials: gives options of the remote that stay in memory, never in a file (DVC's names: access_key_id,
        ...).
    :param only_read: a cache that is read beside the workspace's own, and never written to.
    """

    def __init__(
        self,
        project_dir: Path,
        *,
        credentials: Callable[[], Mapping[str, Any]] = dict,
        only_read: Path | None = None,
        **options: Any,
    ) -> None:
        self.only_read = only_read
        super().__init__(project_dir, **options)
        self._credentials = credentials
        self._repo: Repo | None = None
        self._options: dict[str, Any] = {}
        self._is_outdated = False

    @contextmanager
    def repo(self) -> Iterator["Repo"]:
        """DVC's view of the workspace as it is now, with the workspace as the current folder.

        :raises DvcError: DVC cannot read it, or fails in the block.
        """
        # DVC resolves paths by the cwd.
        with translated_errors(), chdir(self.path), few_attempts():
            yield self._opened()

    def write_lock(self, lock: Lock) -> None:
        """Write these entries, and no others, into the workspace's lock files."""
        super().write_lock(lock)
        self.refresh()

    def refresh(self) -> None:
        """Let DVC read the workspace again: a command may have changed its files."""
        self._is_outdated = True

    def _opened(self) -> "Repo":
        from dvc.repo import Repo

        if self._repo is not None and not self._is_outdated:
            return self._repo
        options = dict(self._credentials())  # they may have been renewed while a stage ran
        if self._repo is not None and options == self._options:
            self._repo._reset()  # as DVC itself does at the beginning of each command
        else:
            self._close()
            remote = {"remote": {self.remote_name: options}} if self.remote_name else {}
            with own_site_cache():
                self._repo, self._options = Repo(str(self.path), config=remote), options
        self._is_outdated = False
        return self._repo

    def _close(self) -> None:
        repo, self._repo = self._repo, None
        if repo is not None:
            try:
                repo.close()
            except Exception as error:  # noqa: BLE001 - its databases are in the workspace, and go with it
                log.warning("Closing DVC's view of %s: %s", self.path, error)

    def _remove(self) -> None:
        try:
            self._close()
        finally:
            super()._remove()


@contextmanager
def own_site_cache() -> Iterator[None]:
    """Have a workspace that DVC opens in the block keep DVC's databases in itself, as its configuration says.

    A variable of the worker would win, and the folder that DVC makes there for each path would stay for ever.
    """
    before = os.environ.pop(SITE_CACHE, None)
    try:
        yield
    finally:
        if before is not None:
            os.environ[SITE_CACHE] = before


@contextmanager
def translated_errors() -> Iterator[None]:
    """Turn DVC's errors into `DvcError`, and that of a package that it lacks into `MissingPackageError`."""
    try:
        yield
    except MissingPackageError:
        raise
    except Exception as error:
        if missing := missing_package(error):
            raise missing from None
        module = type(error).__module__
        if module.partition(".")[0] != "dvc":
            raise
        cause = f": {error.__cause__}" if error.__cause__ and str(error.__cause__) not in str(error) else ""
        raise DvcError(f"DVC: {error}{cause}", is_final=module.startswith(FINAL_DVC_ERRORS)) from error
