"""The outputs of an opened repo's stages: the objects that they consist of, and how those get into the remote."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from dvc_airflow.objects import LostError, Object, Objects
from dvc_airflow.remote import explained, remote_odb, run_folder

if TYPE_CHECKING:
    from dvc.output import Output
    from dvc.repo import Repo
    from dvc.stage import PipelineStage


def push_run_cache(repo: "Repo", entries: Iterable[Mapping[str, Any]]) -> None:
    """Copy the run-cache entries that these lock entries stand for to the remote: one small object each.

    `dvc push --run-cache` would copy all that the cache has ever seen.
    """
    from dvc.stage.cache import _get_cache_hash

    with explained(repo):
        remote = remote_odb(repo, algorithm="md5-dos2unix")
        for entry in entries:
            key, value = _get_cache_hash({**entry}, key=True), _get_cache_hash({**entry})
            local = repo.stage_cache._get_cache_path(key, value)
            if repo.cache.legacy.fs.exists(local):
                folder = run_folder(remote, key)
                remote.fs.makedirs(folder, exist_ok=True)
                remote.fs.put_file(local, remote.fs.join(folder, value))


def outputs_to_push(repo: "Repo", stages: Iterable[str]) -> list["Output"]:
    """The outputs that the workspace's lock names and that may leave this machine (``push: false`` may not).

    Also those with ``cache: false``, which `dvc push` leaves out: a restored stage would lack them.

    And of what `.dvc` files name, that which is at hand: a project may keep more than its stages use.

    :param stages: as ``dvc repro`` takes them.
    """
    from dvc.stage import PipelineStage

    names = set(stages)

    def is_meant(stage: Any) -> bool:
        if isinstance(stage, PipelineStage):
            return _name(repo, stage) in names
        oids = [(out.cache, out.hash_info.value) for out in stage.outs if out.hash_info]
        return all(cache.fs.exists(cache.oid_to_path(oid)) for cache, oid in oids)

    return [
        out
        for stage in repo.index.stages
        if is_meant(stage) and not stage.is_repo_import
        for out in stage.outs
        if out.hash_info and out.can_push and out.protocol == "local"
    ]


@contextmanager
def whose(out: "Output") -> Iterator[None]:
    """Let a `LostError` about an output say which stage makes it."""
    from dvc.stage import PipelineStage

    try:
        yield
    except LostError as error:
        if isinstance(out.stage, PipelineStage):
            error.maker = _name(out.repo, out.stage)
        raise


def objects_of(objects: Objects, outs: Iterable["Output"]) -> list[Object]:
    """All objects of these outputs.

    :raises LostError: the lists of folders are nowhere.
    """
    found: dict[Object, None] = {}
    for out in outs:
        with whose(out):
            found |= dict.fromkeys(objects.of(out))
    return list(found)


def _name(repo: "Repo", stage: "PipelineStage") -> str:
    from dvc_airflow.describe import stage_name

    return stage_name(stage, repo.root_dir)


def push_all(objects: Objects, outs: Iterable[Any]) -> dict[str, int]:
    """Have the remote hold all objects of these outputs, and prove it.

    :return: their sizes in bytes, by hash.
    :raises LostError: neither the cache nor the remote has them whole.
    """
    for out in outs:
        with whose(out):
            own = objects_of(objects, [out])
            if absent := objects.absent_from_remote(own):
                objects.push(absent)
                if lost := objects.absent_from_remote(absent):
                    raise LostError(lost)
    return dict(objects.sizes)
