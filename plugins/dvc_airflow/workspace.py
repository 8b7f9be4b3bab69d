"""A throw-away copy of a project's code, in which one task runs: nothing of an earlier task is in it."""

import errno
import io
import json
import shutil
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import Any, Self

from ruamel.yaml import YAML

from dvc_airflow.project import project_files

PREFIX = "dvc-task-"


class WorkspaceError(Exception):
    """A workspace cannot be made."""


# Lock entries by lock file and stage: {"dvc.lock": {"preprocess": {"cmd": ..., "deps": [...], "outs": [...]}}}
Lock = Mapping[str, Mapping[str, Mapping[str, Any]]]


def merge_locks(locks: Iterable[Lock]) -> dict[str, dict[str, Any]]:
    """Put the entries of several stages together."""
    merged: dict[str, dict[str, Any]] = {}
    for lock in locks:
        for file, stages in lock.items():
            merged.setdefault(file, {}).update(stages)
    return merged


def lock_text(stages: Mapping[str, Any]) -> str:
    """A dvc.lock with these stages, as DVC itself writes it."""
    stream = io.StringIO()
    yaml = YAML()
    yaml.default_flow_style = False
    yaml.dump({"schema": "2.0", "stages": json.loads(json.dumps(stages))}, stream)
    return stream.getvalue()


class Workspace:
    """Context manager: makes the folder, removes it whatever happens.

    :param project_dir: root of the DVC project; never written to.
    :param files: texts that take the place of the project's own files, by relative POSIX path.
    :param lock: entries of the stages whose outputs the task reads.
    :param cache_dir: DVC cache to share with other tasks; None gives the workspace a cache of its own.
    :param remote_url: where DVC pushes to and pulls from.
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
    ) -> None:
        self.project_dir = project_dir
        self.files = files or {}
        self.lock = lock or {}
        self.cache_dir = cache_dir
        self.remote_url = remote_url
        self.path = Path()

    def __enter__(self) -> Self:
        try:
            self.path = Path(tempfile.mkdtemp(prefix=PREFIX))
        except OSError as error:
            raise _no_room(tempfile.gettempdir(), error) from None
        try:
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

    def _remove(self) -> None:
        shutil.rmtree(self.path, ignore_errors=True)

    def _fill(self) -> None:
        for name in project_files(self.project_dir):
            if name not in self.files:
                target = self.path / name
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(self.project_dir / name, target)
        for name, text in self.files.items():
            self._write(name, text)
        for name, stages in self.lock.items():
            self._write(name, lock_text(stages))
        self._write(".dvc/config", self._dvc_config())

    def _write(self, name: str, text: str) -> None:
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts:
            raise WorkspaceError(f"{name}: a workspace holds only files below its root.")
        target = self.path / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")

    def _dvc_config(self) -> str:
        lines = [
            "[core]",
            "    no_scm = true",
            "    analytics = false",
            "    check_update = false",
            f"    site_cache_dir = {self.path / '.dvc' / 'tmp' / 'site'}",
        ]
        if self.remote_url:
            lines += [
                "    remote = store",
                "['remote \"store\"']",
                f"    url = {_one_line(self.remote_url)}",
                "    verify = true",  # else DVC takes a corrupted object for good
            ]
            if self.remote_url.startswith("s3://"):  # DVC's defaults wait for minutes (seconds here)
                lines += ["    connect_timeout = 5", "    read_timeout = 15"]
        if self.cache_dir:
            lines += ["[cache]", f"    dir = {self.cache_dir}"]
        return "\n".join(lines) + "\n"


def _one_line(value: str) -> str:
    if not value.isprintable():
        raise WorkspaceError(f"remote_url: {value!r} is no address.")
    return value


def _no_room(folder: Path | str, error: OSError) -> WorkspaceError:
    remedy = "Free some space there" if error.errno in (errno.ENOSPC, errno.EDQUOT) else "See to that folder"
    return WorkspaceError(
        f"cannot make a workspace in {folder}: {error.strerror}. {remedy}, or let TMPDIR name another folder."
    )
