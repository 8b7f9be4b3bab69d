"""What keeps a stage of an opened workspace from running: a dependency is not there, or an output may not be made."""

import os
from collections.abc import Collection, Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from dvc_airflow.dvc.outputs import Maker, maker_of
from dvc_airflow.dvc.producers import Producers, is_inside, is_param
from dvc_airflow.errors import TaskError

if TYPE_CHECKING:
    from dvc.dependency import ParamsDependency
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


def read_params(dep: "ParamsDependency", stage: str) -> None:
    """Let params have the values of their file.

    :param stage: as ``dvc repro`` takes it.
    :raises TaskError: the file is not there, or has no such params; with the nearest ones.
    """
    from dvc.dependency.param import MissingParamsError

    dvc_yaml = stage.rpartition(":")[0] or "dvc.yaml"
    try:
        dep.save()
    except dep.DoesNotExistError:
        raise TaskError(
            f"stage {stage}: {dep}, whose params it reads, does not exist. Add it, or correct the stage's params in "
            f"{dvc_yaml}."
        ) from None
    except MissingParamsError:
        missing, known = sorted({*dep.params} - dep.read_params().keys()), _names_in(dep)
        near = dict.fromkeys(found for name in missing for found in _nearest(name, known))
        hint = f"Did you mean {' or '.join(near)}? " if near else ""
        raise TaskError(
            f"stage {stage}: {dep} has no {', '.join(missing)}, which {dvc_yaml} lists in the stage's params. {hint}"
            f"Correct {dvc_yaml}, or add it to {dep}."
        ) from None


def _names_in(dep: "ParamsDependency") -> list[str]:
    """The names of all values and sections of a params file."""
    from dvc.dependency.param import read_param_file

    return list(_names(read_param_file(dep.repo.fs, dep.fs_path)))


def _names(values: Any, above: str = "") -> Iterator[str]:
    for key, value in values.items() if isinstance(values, Mapping) else ():
        yield f"{above}{key}"
        yield from _names(value, f"{above}{key}.")


def _nearest(name: str, known: list[str]) -> list[str]:
    """The one that is most like a name: of those as deep in the file as it, if there is one."""
    as_deep = [one for one in known if one.count(".") == name.count(".")]
    return get_close_matches(name, as_deep, 1, 0.5) or get_close_matches(name, known, 1, 0.5)


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
