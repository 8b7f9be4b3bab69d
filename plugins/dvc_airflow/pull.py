"""The results of a run in a user's own checkout: its lock files and its outputs."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from dvc_airflow.dvc.checkout import Results, opened_checkout, stages_of_checkout
from dvc_airflow.dvc.object import MissingObjectsError
from dvc_airflow.dvc.remote import RemoteFolder, address
from dvc_airflow.errors import TaskError
from dvc_airflow.files import replacing
from dvc_airflow.git_checkout import git_checkout_of
from dvc_airflow.lockfile import Lock, digest, lock_text, read_stages
from dvc_airflow.run_locks import RunLock, RunLocks

WRITTEN = ".dvc/tmp/airflow-pull.json"  # the lock files that the last pull wrote, by their hashes


@dataclass(frozen=True)
class Pulled:
    """A run, and what of it was put into the checkout because it was not there yet."""

    run: RunLock
    lock_files: tuple[str, ...]
    outputs: tuple[str, ...]


def pull(
    project_dir: Path, *, dag_id: str | None = None, run_id: str | None = None, remote: str | None = None
) -> Pulled:
    """Put the lock files and outputs of a run into a checkout of its project.

    Nothing is written if anything would be lost: a lock file or an output that neither git nor the cache has.

    :param run_id: which run; None: the last good one, of the DAG if that is given.
    :param remote: the name of a DVC remote of the checkout; None: its default one.
    :raises TaskError: the run does not exist, or something would be lost.
    """
    project_dir = project_dir.resolve()  # DVC changes the current folder
    with opened_checkout(project_dir, remote) as repo:
        run_locks = RunLocks(RemoteFolder(repo), address(repo))

        def is_ours(run: RunLock) -> bool:
            """Another project's run in the same remote is taken for ours only where it is named."""
            own = stages_of_checkout(repo, run.lock)
            return bool(own) if dag_id or run_id else own == run.lock

        run = run_locks.find(dag_id, run_id, is_ours)
        lock = stages_of_checkout(repo, run.lock)
        results = Results(repo, lock, _is_in_git)
        texts = _lock_texts(project_dir, lock)
        edited = [name for name in texts if _is_edited(project_dir, name)]
        if lost := [*edited, *results.conflicts]:
            raise TaskError(
                f"{', '.join(lost)}: would be overwritten, and neither git nor DVC's cache has what is there. Move it "
                "away, or, if git tracks it, commit it; then pull again. Nothing was changed."
            )
        try:
            results.fetch()
        except MissingObjectsError as error:
            raise TaskError(
                f"{error}. The push of run {run.run_id} began at {run.at}. If it has ended, run the DAG again: what "
                "stages made and the remote lacks is made and pushed anew."
            ) from None
        # The outputs first: of a pull that is interrupted here, the next one finds them in the cache.
        results.put()
        for name, text in texts.items():
            with replacing(project_dir / name) as part:
                part.write_text(text, encoding="utf-8")
        _remember(project_dir, texts)
        return Pulled(run, tuple(texts), tuple(results.paths))


def _lock_texts(project_dir: Path, lock: Lock) -> dict[str, str]:
    """The lock files that have to change: the run's entries beside those of other stages."""
    texts = {}
    for name, stages in lock.items():
        before = read_stages(project_dir / name)
        after = {**before, **stages}
        if digest(before) != digest(after):  # .nan is not equal to itself
            texts[name] = lock_text(after)
    return texts


def _is_edited(project_dir: Path, name: str) -> bool:
    """Whether a lock file holds what neither git nor an earlier pull wrote."""
    file = project_dir / name
    if not file.exists() or _written(project_dir).get(name) == hashlib.sha256(file.read_bytes()).hexdigest():
        return False
    return not _is_in_git(file)


def _is_in_git(file: Path) -> bool:
    """Whether git has a file as it is, committed or staged."""
    checkout = git_checkout_of(file.parent) if file.is_file() else None
    return checkout is not None and checkout.has(file)


def _written(project_dir: Path) -> dict[str, str]:
    try:
        found = json.loads((project_dir / WRITTEN).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _remember(project_dir: Path, texts: Mapping[str, str]) -> None:
    written = {name: hashlib.sha256(text.encode()).hexdigest() for name, text in texts.items()}
    with replacing(project_dir / WRITTEN) as part:
        part.write_text(json.dumps({**_written(project_dir), **written}), encoding="utf-8")
