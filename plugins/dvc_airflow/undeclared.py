"""What a stage leaves in its workspace that dvc.yaml does not declare: it goes with the workspace."""

import os
from collections.abc import Collection, Iterator
from pathlib import Path

from dvc_airflow.files import FileState, state_of
from dvc_airflow.project_files import NEVER_COPIED, is_in

SHOWN = 10
# What tools leave for themselves.
CACHES = frozenset({".pytest_cache", ".mypy_cache", ".ruff_cache", ".ipynb_checkpoints"})


class Snapshot:
    """The files of a folder as they are now."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._folders: set[str] = {""}
        self._states: dict[str, FileState | None] = {}
        for path, files in self._walk():
            self._folders.add(path)
            self._states |= {name: state_of(folder / name) for name in files}

    def left(self, declared: Collection[str]) -> list[str]:
        """Files that are new or changed since then and not declared; new folders as a whole, ending in a slash.

        :param declared: files and folders, relative to the folder.
        """
        found: dict[str, None] = {}
        for _, files in self._walk():
            for name in files:
                if not is_in(name, declared) and state_of(self._folder / name) != self._states.get(name):
                    found[self._whole(name, declared)] = None
        return sorted(found)

    def _whole(self, name: str, declared: Collection[str]) -> str:
        """The topmost new folder around a file that holds nothing declared, else the file."""
        steps = name.split("/")
        for depth in range(1, len(steps)):
            folder = "/".join(steps[:depth])
            if folder not in self._folders and not any(one.startswith(f"{folder}/") for one in declared):
                return f"{folder}/"
        return name

    def _walk(self) -> Iterator[tuple[str, list[str]]]:
        """:return: each folder, with the paths of its files."""
        for here, folders, files in os.walk(self._folder):
            folders[:] = [name for name in folders if name not in NEVER_COPIED | CACHES]
            path = os.path.relpath(here, self._folder)
            prefix = "" if path == "." else f"{path}/"
            yield prefix.rstrip("/"), [f"{prefix}{name}" for name in files if name not in NEVER_COPIED]


def shown(names: list[str]) -> str:
    """Some of these names, and how many more there are."""
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return f"{', '.join(names[:SHOWN])}{more}"
