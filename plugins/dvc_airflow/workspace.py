"""A throw-away copy of a project's code, in which one task runs: nothing of an earlier task is in it."""

import errno
import fcntl
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import Any, Self

from dvc_airflow.errors import WorkspaceError
from dvc_airflow.lockfile import Lock, lock_text
from dvc_airflow.project import project_files

log = logging.getLogger(__name__)

PREFIX = "dvc-task-"
REMOTE = "airflow"  # the name of `remote_url` in a workspace's DVC configuration
OWNER = ".dvc/owner"  # locked (flock) for as long as the task lives that made the workspace
UNOWNED_SECONDS = 3600  # after which a workspace without that file is nobody's
KILL_SECONDS = 5  # that a killed process may take to end
YOUNG_SECONDS = 10  # in which a workspace's owner may not have locked that file yet
# Seconds, where the project says nothing. DVC's defaults wait for minutes; a remote that is down or silent must be
# noticed within one.
S3_TIMEOUTS = {"connect_timeout": "5", "read_timeout": "8"}


class Workspace:
    """Context manager: makes the folder, removes it whatever happens.

    :param project_dir: root of the DVC project; never written to.
    :param files: texts that take the place of the project's own files, by relative POSIX path.
    :param lock: entries of the stages whose outputs the task reads.
    :param cache_dir: DVC cache to share with other tasks; None gives the workspace a cache of its own.
    :param remote_url: where DVC pushes to and pulls from; None leaves that to the project's own .dvc/config.
    :param remote_options: options of that remote, without secrets; they win over those of the project's .dvc/config.
    :raises WorkspaceError: no room, or no right to write there.
    """

    def __init__(
        self,
        project_dir: Path,
        *,
        files: Mapping[str, str] | None = None,
        lock: Lock | None = None,
        cache_dir: Path | None = None,
        remote_url: str | None = None,
        remote_options: Mapping[str, Any] | None = None,
    ) -> None:
        self.project_dir = project_dir
        self.files = files or {}
        self.lock = lock or {}
        self.cache_dir = cache_dir
        self.remote_url = remote_url
        self.remote_options = remote_options or {}
        self.path = Path()
        self._owner = -1
        self._project_remote: str | None = None

    def __enter__(self) -> Self:
        try:
            remove_abandoned(Path(tempfile.gettempdir()))
            self.path = Path(tempfile.mkdtemp(prefix=PREFIX))
        except OSError as error:
            raise _no_room(tempfile.gettempdir(), error) from None
        try:
            self._own()
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
        return REMOTE if self.remote_url else self._project_remote

    def _own(self) -> None:
        (self.path / OWNER).parent.mkdir()
        self._owner = os.open(self.path / OWNER, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._owner, fcntl.LOCK_EX)

    def _remove(self) -> None:
        shutil.rmtree(self.path, ignore_errors=True)
        if self._owner >= 0:
            os.close(self._owner)
            self._owner = -1

    def _fill(self) -> None:
        for name in project_files(self.project_dir):
            if name not in self.files:
                target = self.path / name
                target.parent.mkdir(parents=True, exist_ok=True)
                source = self.project_dir / name
                # A link to a folder stays a link: to the copy if it led into the project, else to where it led.
                target.symlink_to(self._link_target(source)) if source.is_dir() else shutil.copy2(source, target)
        for name, text in self.files.items():
            self._write(name, text)
        self.write_lock(self.lock)
        self._write(".dvc/config", self._dvc_config())

    def _link_target(self, link: Path) -> Path:
        led_to, root = link.resolve(), self.project_dir.resolve()
        return self.path / led_to.relative_to(root) if led_to.is_relative_to(root) else led_to

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
        target.write_text(text, encoding="utf-8")

    def _dvc_config(self) -> str:
        """The project's own .dvc/config, but for what belongs to one place; config.local, with its secrets, is left."""
        config = _project_config(self.project_dir)
        core = config.setdefault("core", {})
        core |= {"no_scm": "true", "analytics": "false", "check_update": "false"}
        core["site_cache_dir"] = str(self.path / ".dvc" / "tmp" / "site")
        config["cache"] = {name: value for name, value in config.get("cache", {}).items() if name != "dir"}
        if self.cache_dir:
            config["cache"]["dir"] = str(self.cache_dir)
        if self.remote_url:
            core["remote"] = REMOTE
            config[_section(REMOTE)] = {"url": _one_line("url", self.remote_url)}
        elif _section(core.get("remote", "")) in config:
            self._project_remote = core["remote"]
        else:
            core.pop("remote", None)
        if self.remote_name:
            options = {name: _one_line(name, value) for name, value in self.remote_options.items()}
            config[_section(self.remote_name)] |= options
        for name, options in config.items():
            if name.startswith("'remote"):
                options["verify"] = "true"  # else DVC takes a corrupted object for good
                if options.get("url", "").startswith("s3://"):
                    for option, value in S3_TIMEOUTS.items():
                        options.setdefault(option, value)
        return "".join(
            f"[{name}]\n" + "".join(f"    {option} = {value}\n" for option, value in options.items())
            for name, options in config.items()
        )


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


def _project_config(project_dir: Path) -> dict[str, dict[str, str]]:
    from configobj import ConfigObj, ConfigObjError

    file = project_dir / ".dvc" / "config"
    try:
        # A copy without ConfigObj's own types; interpolation is not DVC's way.
        config = {
            _section_name(name): dict(options)
            for name, options in ConfigObj(str(file), interpolation=False, list_values=False, encoding="utf-8").items()
        }
    except (ConfigObjError, UnicodeDecodeError) as error:
        raise WorkspaceError(f"{file}: {error}") from None
    except ValueError:
        raise WorkspaceError(f"{file}: every option must be in a section such as [core].") from None
    for name, options in config.items():
        url = options.get("url", "")
        if name.startswith("'remote") and url and "://" not in url and not Path(url).is_absolute():
            options["url"] = str((file.parent / url).resolve())  # DVC counts it from the folder of the file
    return config


def _section(remote: str) -> str:
    return f"'remote \"{remote}\"'"


def _section_name(name: str) -> str:
    return f"'{name}'" if " " in name else name


def _one_line(option: str, value: Any) -> str:
    if not str(value).isprintable():
        raise WorkspaceError(f"{value!r} cannot be the {option} of a DVC remote: it must be one line of text.")
    return str(value)


def _no_room(folder: Path | str, error: OSError) -> WorkspaceError:
    remedy = "Free some space there" if error.errno in (errno.ENOSPC, errno.EDQUOT) else "Check that folder"
    return WorkspaceError(
        f"cannot make a workspace in {folder}: {error.strerror}. {remedy}, or set TMPDIR to another folder."
    )
