"""The git checkout that a project lies in: what it tracks, and how a workspace can read its history."""

import logging
import shutil
from collections.abc import Mapping
from contextlib import suppress
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, NamedTuple

from dvc_airflow.files import state_of

if TYPE_CHECKING:
    from dulwich.index import IndexEntry

log = logging.getLogger(__name__)


class GitCheckout(NamedTuple):
    """A git checkout, seen from a project in it.

    ``root`` is its top folder, ``git_dir`` what is its own (HEAD, index), ``common_dir`` what it shares with other
    worktrees (objects, refs), ``tracked`` are the files below the project that it tracks, relative to the project.
    """

    root: Path
    git_dir: Path
    common_dir: Path
    tracked: frozenset[str]

    def lend(self, workspace: Path, project_dir: Path, commit: str | None = None) -> None:
        """Let git in a workspace read the history of this checkout. What it writes stays in the workspace.

        Remotes are left out: their addresses may hold secrets.

        :param commit: which is to be checked out there; None: the one that is checked out here.
        """
        git = workspace / ".git"
        (git / "objects" / "info").mkdir(parents=True)
        (git / "objects" / "info" / "alternates").write_text(f"{self.common_dir / 'objects'}\n")
        shutil.copytree(self.common_dir / "refs", git / "refs")
        for source in (self.git_dir / "HEAD", self.common_dir / "packed-refs", self.common_dir / "shallow"):
            with suppress(FileNotFoundError):
                shutil.copyfile(source, git / source.name)
        (git / "config").write_text(self._config())
        if commit is not None:
            (git / "HEAD").write_text(f"{commit}\n")
        if project_dir.resolve() == self.root:  # else its paths would be of other files
            entries = self._index() if commit is None else self._entries_of(commit)
            _write_index(entries, git / "index", workspace)

    def has_commit(self, commit: str) -> bool:
        """Whether its history has this commit."""
        from dulwich.objects import ObjectID
        from dulwich.repo import Repo

        with Repo(str(self.root)) as repo:
            return ObjectID(commit.encode()) in repo.object_store

    def has(self, file: Path) -> bool:
        """Whether git has a file as it is, committed or staged."""
        from dulwich.index import ConflictedIndexEntry, Index
        from dulwich.objects import Blob

        name = file.resolve().relative_to(self.root).as_posix().encode(errors="surrogateescape")
        entry = dict(Index(str(self.git_dir / "index")).items()).get(name)
        if entry is None or isinstance(entry, ConflictedIndexEntry):
            return False
        return bool(entry.sha == Blob.from_string(file.read_bytes()).id)

    def _index(self) -> "dict[bytes, IndexEntry]":
        from dulwich.index import ConflictedIndexEntry, Index

        entries = Index(str(self.git_dir / "index")).items()
        return {path: entry for path, entry in entries if not isinstance(entry, ConflictedIndexEntry)}

    def _entries_of(self, commit: str) -> "dict[bytes, IndexEntry]":
        """The files of a commit, as an index has them before git has looked at any file."""
        from dulwich.index import IndexEntry
        from dulwich.object_store import iter_tree_contents
        from dulwich.repo import Repo

        with Repo(str(self.root)) as repo:
            tree: Any = repo[commit.encode()]
            return {
                entry.path: IndexEntry(0, 0, 0, 0, entry.mode, 0, 0, 0, entry.sha)
                for entry in iter_tree_contents(repo.object_store, tree.tree)
            }

    def _config(self) -> str:
        from dulwich.config import ConfigFile

        lines = ["[core]", "\trepositoryformatversion = 0", "\tbare = false", "\tlogAllRefUpdates = false"]
        with suppress(OSError, ValueError, KeyError):
            kind = ConfigFile.from_path(str(self.common_dir / "config")).get(b"extensions", b"objectFormat").decode()
            lines[1:2] = ["\trepositoryformatversion = 1"]
            lines += ["[extensions]", f"\tobjectFormat = {kind}"]
        return "\n".join(lines) + "\n"


def git_checkout_of(project_dir: Path) -> GitCheckout | None:
    """The checkout that tracks the project's files; None where there is none, as in an image."""
    project = project_dir.resolve()
    root = next((folder for folder in (project, *project.parents) if (folder / ".git").exists()), None)
    if root is None:
        return None
    from dulwich.repo import Repo

    try:
        with Repo(str(root)) as repo:
            git_dir, common_dir, index = Path(repo.controldir()), Path(repo.commondir()), Path(repo.index_path())
        state = state_of(index)
        tracked = _tracked(index, project.relative_to(root).as_posix(), tuple(state)) if state else frozenset()
    except Exception as error:  # noqa: BLE001 - of many kinds, such as an extension that it does not know
        log.warning("%s is not read as a git checkout: %s", root, error)
        return None
    # A folder of somebody else's checkout, such as a build folder, is not its project.
    return GitCheckout(root, git_dir.resolve(), common_dir.resolve(), tracked) if tracked else None


@lru_cache(maxsize=8)
def _tracked(index: Path, folder: str, state: tuple[int, ...]) -> frozenset[str]:
    """:param state: of the index, so that a changed one is read anew."""
    from dulwich.index import Index

    prefix = "" if folder == "." else f"{folder}/"
    paths = (path.decode(errors="surrogateescape") for path in Index(str(index)))
    return frozenset(path.removeprefix(prefix) for path in paths if path.startswith(prefix))


def _write_index(entries: "Mapping[bytes, IndexEntry]", target: Path, workspace: Path) -> None:
    """Write an index; what the workspace leaves out or has its own of, such as dvc.lock, does not count as changed."""
    from dulwich.index import Index

    index = Index(str(target), read=False)
    for path, entry in entries.items():
        name = path.decode(errors="surrogateescape")
        if not (workspace / name).exists() or name.startswith(".dvc/") or PurePosixPath(name).name == "dvc.lock":
            entry.set_skip_worktree(True)
        index[path] = entry
    index.write()
