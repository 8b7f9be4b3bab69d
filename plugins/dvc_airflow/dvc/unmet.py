"""What keeps a stage of an opened workspace from running: a dependency is not there, or an output may not be made."""

import os
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from dvc_airflow.dvc.outputs import Maker, maker_of
from dvc_airflow.dvc.producers import Producers, is_inside, is_param

if TYPE_CHECKING:
    from dvc.repo import Repo
    from dvc.stage import PipelineStage

GIT = ".git"  # in a workspace only when the command runs


class Absent(NamedTuple):
    """A dependency that is not there.

    :param name: relative to the project; what lies outside, as dvc.yaml has it.
    :param maker: what makes the output that it should lie in.
    """

    name: str
    is_inside: bool
    maker: Maker | None


def absent_dependencies(stage: "PipelineStage", producers: Producers, repo: "Repo") -> Iterator[Absent]:
    """The dependencies without a hash, but for those whose makers have not run yet."""
    for dep in stage.deps:
        if dep.hash_info or is_param(dep):
            continue
        made_by = [out for out, _ in producers.of(dep)]
        if not all(out.hash_info for out in made_by) or dep.exists:
            continue
        is_own = dep.protocol == "local" and bool(repo.fs.isin(dep.fs_path, repo.root_dir))
        name = Path(dep.fs_path).relative_to(repo.root_dir).as_posix() if is_own else str(dep.def_path)
        if not (is_own and name.split("/")[0] == GIT):
            yield Absent(name, is_own, maker_of(made_by[0]) if made_by else None)


def refuse_tracked(stage: "PipelineStage", tracked: Collection[str], root: Path) -> None:
    """Refuse what DVC refuses in a git checkout.

    :param tracked: what git tracks, relative to the project.
    :raises OutputAlreadyTrackedError: git tracks an output that DVC is to track.
    """
    from dvc.output import OutputAlreadyTrackedError

    for out in stage.outs:
        if not out.use_scm_ignore:
            continue
        path = Path(out.fs_path).relative_to(root).as_posix()
        if path in tracked or any(file.startswith(f"{path}/") for file in tracked):
            raise OutputAlreadyTrackedError(out)


def blocked_outputs(stage: "PipelineStage", root: Path) -> Iterator[tuple[str, str]]:
    """Outputs that cannot be made, each with the file of the project that is where a folder has to be."""
    for out in stage.outs:
        if is_inside(out):
            path = Path(out.fs_path).relative_to(root)
            for folder in path.parents:
                if os.path.lexists(root / folder) and not (root / folder).is_dir():
                    yield path.as_posix(), folder.as_posix()
