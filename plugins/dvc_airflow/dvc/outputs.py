"""The outputs of an opened repo's stages, and how what they consist of gets into the remote."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from dvc_airflow.dvc.object import MissingObjectsError, Object
from dvc_airflow.dvc.objects import Objects

if TYPE_CHECKING:
    from dvc.output import Output
    from dvc.repo import Repo
    from dvc.stage import PipelineStage, Stage


def stage_name(stage: "PipelineStage", root: str) -> str:
    """What ``dvc repro`` in the project's root takes: ``train``, or ``sub/dvc.yaml:train`` for a nested file."""
    file = Path(stage.path).relative_to(root).as_posix()
    return str(stage.name) if file == "dvc.yaml" else f"{file}:{stage.name}"


class Maker(NamedTuple):
    """What makes an output: a stage as ``dvc repro`` takes it, or the .dvc file that tracks it."""

    name: str
    is_stage: bool


class StageFolder:
    """Paths as a stage of an opened repo means them.

    :param name: the stage as ``dvc repro`` takes it.
    """

    def __init__(self, repo: "Repo", name: str) -> None:
        self._repo = repo
        stages = [one for one in repo.index.stages if _name_of(one, repo.root_dir) == name]
        #: where the command runs, relative to the project
        self.path = Path(stages[0].wdir).relative_to(repo.root_dir).as_posix() if stages else "."

    def maker_of(self, path: str) -> Maker | None:
        """What makes a path of the project, or the folder that it is in.

        :param path: relative to the project.
        """
        full = self._repo.fs.join(self._repo.root_dir, path)
        for stage in self._repo.index.stages:
            for out in stage.outs:
                if out.protocol == "local" and out.fs.isin_or_eq(full, out.fs_path):
                    return maker_of(out)
        return None


def maker_of(out: "Output") -> Maker:
    """What makes an output."""
    return Maker(_name_of(out.stage, out.repo.root_dir), is_of_stage(out))


def is_of_stage(out: "Output") -> bool:
    """Whether a stage makes an output; else a .dvc file tracks it."""
    from dvc.stage import PipelineStage

    return isinstance(out.stage, PipelineStage)


def _name_of(stage: "Stage", root: str) -> str:
    from dvc.stage import PipelineStage

    return (
        stage_name(stage, root) if isinstance(stage, PipelineStage) else Path(stage.path).relative_to(root).as_posix()
    )


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
            return stage_name(stage, repo.root_dir) in names
        oids = [(out.cache, out.hash_info.value) for out in stage.outs if out.hash_info]
        return all(cache.fs.exists(cache.oid_to_path(oid)) for cache, oid in oids)

    return [
        out
        for stage in repo.index.stages
        if is_meant(stage) and not stage.is_repo_import
        for out in stage.outs
        if out.hash_info and out.can_push and out.protocol == "local" and out.is_in_repo
    ]


def has_tracked_data(repo: "Repo") -> bool:
    """Whether .dvc files name outputs: of these, a push has to push what happens to be at hand."""
    from dvc.stage import PipelineStage

    return any(stage.outs for stage in repo.index.stages if not isinstance(stage, PipelineStage))


@contextmanager
def attributed_to(out: "Output") -> Iterator[None]:
    """Attribute a `MissingObjectsError` about an output to the stage that makes it."""
    try:
        yield
    except MissingObjectsError as error:
        if is_of_stage(out):
            error.producer = _name_of(out.stage, out.repo.root_dir)
        raise


def objects_of(objects: Objects, outs: Iterable["Output"]) -> list[Object]:
    """All objects of these outputs.

    :raises MissingObjectsError: the list of a folder is missing.
    """
    found: dict[Object, None] = {}
    for out in outs:
        with attributed_to(out):
            found |= dict.fromkeys(objects.of(out))
    return list(found)


def push_outputs(objects: Objects, outs: Iterable["Output"]) -> dict[str, int]:
    """Push all objects of these outputs, and prove that the remote has them.

    :return: their sizes in bytes, by hash.
    :raises MissingObjectsError: neither the cache nor the remote has them whole.
    """
    for out in outs:
        with attributed_to(out):
            objects.push(objects.of(out))
    objects.remote.clear_uploads()
    return dict(objects.remote.sizes)
