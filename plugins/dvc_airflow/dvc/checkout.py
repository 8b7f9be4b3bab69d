"""A user's own checkout of a project: the results of a run are put into it, and nothing edited by hand is lost."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import chdir, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from dvc_airflow.dvc.object import MissingObjectsError
from dvc_airflow.dvc.objects import Objects
from dvc_airflow.dvc.outputs import objects_of, stage_name
from dvc_airflow.dvc.remote import few_attempts, has_remote
from dvc_airflow.dvc.repo import translated_errors
from dvc_airflow.dvc_config import no_remote
from dvc_airflow.errors import TaskError
from dvc_airflow.lockfile import Lock, LockEntry, lock_file_of
from dvc_airflow.project_root import FOLDER, is_root, no_folder, projects_near

if TYPE_CHECKING:
    from dvc.output import Output
    from dvc.repo import Repo
    from dvc.stage import PipelineStage
    from dvc_data.hashfile.hash_info import HashInfo


@contextmanager
def opened_checkout(project_dir: Path, remote: str | None) -> Iterator["Repo"]:
    """The checkout with its own DVC configuration.

    :param remote: the name of a remote of it; None: the default one.
    :raises TaskError: DVC cannot read it, or it has no remote.
    """
    from dvc.repo import Repo

    if reason := no_folder(project_dir):
        raise TaskError(reason)
    if not is_root(project_dir):
        raise TaskError(
            f"{project_dir}: no {FOLDER} there, so it is not the root of a DVC project.{projects_near(project_dir)}"
        )
    config = {"core": {"remote": remote}} if remote else None
    with translated_errors(), few_attempts(), Repo(str(project_dir), config=config) as repo:
        if not has_remote(repo):
            raise TaskError(no_remote(project_dir))
        with chdir(repo.root_dir):
            yield repo


class Results:
    """The outputs of a run, for one checkout.

    :param lock: the entries of the run's stages.
    :param is_in_git: whether git has a file as it is.
    """

    def __init__(self, repo: "Repo", lock: Lock, is_in_git: Callable[[Path], bool]) -> None:
        self._repo, self._objects, self._is_in_git = repo, Objects(repo), is_in_git
        self._all: list[Output] = []
        #: those that differ from what the checkout has
        self._outs: list[Output] = []
        self._conflicts: list[str] = []
        for stage, entry in _stages(repo, lock):
            self._compare(stage, entry)

    @property
    def conflicts(self) -> Sequence[str]:
        """Outputs that hold what neither an earlier result nor git has."""
        return self._conflicts

    @property
    def paths(self) -> Sequence[str]:
        """The outputs that will be put into the checkout."""
        return [str(out) for out in self._outs]

    def fetch(self) -> None:
        """Fetch them into the checkout's cache.

        :raises MissingObjectsError: the remote does not have them any more.
        :raises RemoteError: the remote cannot be asked.
        """
        self._objects.fetch(objects_of(self._objects, self._outs))

    def put(self) -> None:
        """Put them into the checkout, over what is there; git ignores those that DVC tracks, as after `dvc repro`."""
        for out in self._outs:
            is_cached, out.use_cache = out.use_cache, True  # `dvc metrics show` also reads what dvc.yaml does not cache
            out.checkout(force=True, allow_missing=False)
            if not is_cached:
                out.unprotect()  # git may track it: no link into the cache
            out.use_cache = is_cached
        with self._repo.scm_context:
            for out in self._all:
                if out.use_scm_ignore and not self._repo.scm.is_tracked(out.fspath):
                    self._repo.scm_context.ignore(out.fspath)

    def _compare(self, stage: "PipelineStage", entry: LockEntry) -> None:
        from dvc.stage.loader import StageLoader

        StageLoader.fill_from_lock(stage, entry)
        for out in stage.outs:
            if not (out.hash_info and out.can_push and out.protocol == "local" and out.is_in_repo):
                continue
            self._all.append(out)
            there = out.get_hash() if out.exists else None
            if there == out.hash_info:
                continue
            self._outs.append(out)
            if there and not self._is_cached(out, there) and not self._is_in_git(Path(out.fs_path)):
                self._conflicts.append(str(out))

    def _is_cached(self, out: "Output", there: "HashInfo") -> bool:
        """Whether the checkout's cache has all of what an output holds now."""
        wanted, out.hash_info = out.hash_info, there
        try:
            return all(self._objects.cache.has(one) for one in self._objects.of(out))
        except MissingObjectsError:  # the list of a folder
            return False
        finally:
            out.hash_info = wanted


def stages_of_checkout(repo: "Repo", lock: Lock) -> dict[str, dict[str, LockEntry]]:
    """Of these entries, those of stages that the checkout has."""
    found: dict[str, dict[str, LockEntry]] = {}
    for stage, entry in _stages(repo, lock):
        short_name = stage_name(stage, repo.root_dir).rpartition(":")[2]
        found.setdefault(lock_file_of(stage.path, Path(repo.root_dir)), {})[short_name] = entry
    return found


def _stages(repo: "Repo", lock: Lock) -> Iterator[tuple["PipelineStage", LockEntry]]:
    from dvc.stage import PipelineStage

    for stage in repo.index.stages:
        if isinstance(stage, PipelineStage):
            entries = lock.get(lock_file_of(stage.path, Path(repo.root_dir)), {})
            short_name = stage_name(stage, repo.root_dir).rpartition(":")[2]
            if short_name in entries:
                yield stage, entries[short_name]
