"""A throw-away copy of a project's code, in which one task runs: nothing of an earlier task is in it."""

import errno
import fcntl
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import Any, Self

from dvc_airflow.dvc_config import DvcConfig
from dvc_airflow.errors import TaskError, WorkspaceError
from dvc_airflow.inputs import Inputs
from dvc_airflow.lockfile import Lock, lock_text
from dvc_airflow.project_code import FolderCode, ProjectCode, Put
from dvc_airflow.project_files import Content, is_in

log = logging.getLogger(__name__)

PREFIX = "dvc-task-"
OWNER = ".dvc/owner"  # locked (flock) for as long as the task lives that made the workspace
UNOWNED_SECONDS = 3600  # after which a workspace without that file is nobody's
KILL_SECONDS = 5  # that a killed process may take to end
YOUNG_SECONDS = 10  # in which a workspace's owner may not have locked that file yet


class Workspace:
    """Context manager: makes the folder, removes it whatever happens.

    :param project_dir: root of the DVC project; never written to.
    :param files: texts that take the place of the project's own files, by relative POSIX path.
    :param lock: entries of the stages whose outputs the task reads.
    :param sources: declared dependencies that no stage makes: they are copied even if git ignores them.
    :param outputs: what the stages of the project make: left out.
    :param cache_dir: DVC cache to share with other tasks; None gives the workspace a cache of its own.
    :param remote_url: where DVC pushes to and pulls from; None leaves that to the project's own .dvc/config.
    :param remote_options: options of that remote, without secrets; they win over those of the project's .dvc/config.
    :param code: where the files come from; None: the project's folder as it is now.
    :param parent: the folder to make it in; None: that for temporary files, from which those of dead tasks are removed.
    :raises WorkspaceError: no room, or no right to write there.
    """

    def __init__(
        self,
        project_dir: Path,
        *,
        files: Mapping[str, str] | None = None,
        lock: Lock | None = None,
        sources: Sequence[str] = (),
        outputs: Sequence[str] = (),
        cache_dir: Path | None = None,
        remote_url: str | None = None,
        remote_options: Mapping[str, Any] | None = None,
        code: ProjectCode | None = None,
        parent: Path | None = None,
    ) -> None:
        self._parent = parent
        self.project_dir = project_dir
        self.code = code or FolderCode(project_dir)
        self.files = files or {}
        self.lock = lock or {}
        self.content = Content((), ())
        self.inputs = Inputs(cache_dir)
        self._sources, self._outputs = sources, frozenset(outputs)
        self.cache_dir = cache_dir
        self._config = DvcConfig(project_dir, remote_url, remote_options or {}, self.code.dvc_config)
        self.path = Path()
        self._made: set[Path] = set()  # its folders that project files are put into
        self._owner = -1

    def __enter__(self) -> Self:
        try:
            if self._parent is None:
                remove_abandoned(Path(tempfile.gettempdir()))
            self.path = Path(tempfile.mkdtemp(prefix=PREFIX, dir=self._parent))
        except OSError as error:
            raise _no_room(tempfile.gettempdir(), error) from None
        try:
            self._owner = _owned(self.path)
            self._fill()
        except OSError as error:
            self._remove()
            raise _no_room(self.path.parent, error) from None
        except BaseException:
            self._remove()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._remove()

    @property
    def remote_name(self) -> str | None:
        """The default remote in the workspace's DVC configuration, if there is one."""
        return self._config.remote

    def _remove(self) -> None:
        shutil.rmtree(self.path, ignore_errors=True)
        if self._owner >= 0:
            os.close(self._owner)
            self._owner = -1

    def _fill(self) -> None:
        self.content = self.code.content(self._sources, self._outputs)
        for name in self.content.folders:
            (self.path / name).mkdir(parents=True, exist_ok=True)
        with self.code.putting(self.inputs, self.path) as put:
            for name in self.content.files:
                if name not in self.files:
                    self._put(name, put)
        for name, text in self.files.items():
            self._write(name, text)
        self.write_lock(self.lock)
        self._write(".dvc/config", self._config.text(self.path, self.cache_dir))

    def _put(self, name: str, put: Put) -> None:
        source, target = self.project_dir / name, self.path / name
        if target.parent not in self._made:
            target.parent.mkdir(parents=True, exist_ok=True)
            if not self._is_own(target):  # it is there already, behind a link
                return
            self._made.add(target.parent)
        # A link to a folder stays one: to the copy if it led into the project, else to where it led.
        if (folder := self.code.leads_to(name)) is not None:
            target.symlink_to(self.path / folder)
            return
        try:
            put(name, target)
        except PermissionError:
            if is_in(name, self._sources):
                raise TaskError(
                    f"{source} cannot be read by this user, and the stage depends on it. Give the user the right."
                ) from None
            log.warning("%s cannot be read by this user, so the task's copy of the project lacks it", source)
            target.unlink(missing_ok=True)
        except FileNotFoundError:
            if os.path.lexists(source):
                raise
            log.warning("%s was removed from the project while the task began", source)

    def write_lock(self, lock: Lock) -> None:
        """Write these entries, and no others, into the workspace's lock files."""
        for name, stages in lock.items():
            self._write(name, lock_text(stages))

    def _write(self, name: str, text: str) -> None:
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts:
            raise WorkspaceError(f"{name}: only paths inside the project can be replaced in a workspace.")
        target = self.path / path
        target.parent.mkdir(parents=True, exist_ok=True)
        if not self._is_own(target) or target.is_symlink():
            raise WorkspaceError(f"{name} lies behind a link out of the project, so it cannot be replaced for one run.")
        target.write_text(text, encoding="utf-8")

    def _is_own(self, target: Path) -> bool:
        """Whether a path in the workspace really lies there: what a link leads to is the user's."""
        return target.parent.resolve().is_relative_to(self.path.resolve())


@contextmanager
def private_folder() -> Iterator[Path]:
    """A temporary folder. If this process is killed, the next task or plan of this machine removes it.

    :raises OSError: it cannot be made.
    """
    remove_abandoned(Path(tempfile.gettempdir()))
    with tempfile.TemporaryDirectory(prefix=PREFIX, ignore_cleanup_errors=True) as name:
        owner = _owned(Path(name))
        try:
            yield Path(name)
        finally:
            os.close(owner)


def _owned(folder: Path) -> int:
    """Lock the file that says that a folder is in use. :return: its descriptor; the lock is held until it is closed."""
    (folder / OWNER).parent.mkdir()
    owner = os.open(folder / OWNER, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    fcntl.flock(owner, fcntl.LOCK_EX)
    return owner


def remove_abandoned(folder: Path) -> None:
    """Remove the workspaces of tasks that are dead (SIGKILL, a lost worker), and end what still runs in them."""
    for path in folder.glob(f"{PREFIX}*"):
        try:
            owner = os.open(path / OWNER, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:  # it is just being made or removed, or has been left half made
            with suppress(OSError):
                if time.time() - path.stat().st_mtime > UNOWNED_SECONDS:
                    shutil.rmtree(path, ignore_errors=True)
            continue
        except OSError:  # another user's
            continue
        try:
            if time.time() - os.fstat(owner).st_mtime < YOUNG_SECONDS:
                continue
            fcntl.flock(owner, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            continue  # its task lives
        finally:
            os.close(owner)
        log.info("Removing %s, which a dead task left", path)
        _end_processes_in(path)
        shutil.rmtree(path, ignore_errors=True)


def _end_processes_in(folder: Path) -> None:
    import psutil

    killed = []
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            if Path(process.cwd()).is_relative_to(folder.resolve()):
                log.warning("Ending process %s, which a dead task left in %s", process.pid, folder)
                process.kill()
                killed.append(process)
    psutil.wait_procs(killed, timeout=KILL_SECONDS)  # what it still writes would be in the way of the removal


def _no_room(folder: Path | str, error: OSError) -> WorkspaceError:
    remedy = "Free some space there" if error.errno in (errno.ENOSPC, errno.EDQUOT) else "Check that folder"
    return WorkspaceError(
        f"cannot make a workspace in {folder}: {error.strerror}. {remedy}, or set TMPDIR to another folder."
    )
