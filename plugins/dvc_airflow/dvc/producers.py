"""Which outputs of stages make up what a stage reads."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dvc.output import Output
    from dvc.repo import Repo

Produced = list[tuple["Output", str | None]]


class Producers:
    """The outputs that make up dependencies, in an opened workspace."""

    def __init__(self, repo: "Repo") -> None:
        self._repo = repo

    def of(self, dep: Any) -> Produced:
        """The outputs that make up a dependency, each with the path in it that is meant (None: all)."""
        from dvc.exceptions import OutputNotFoundError
        from dvc.stage import PipelineStage

        if dep.protocol != "local":
            return []
        try:
            outs = self._repo.find_outs_by_path(dep.fs_path, recursive=True, strict=False)
        except OutputNotFoundError:
            return []
        if is_param(dep):  # no stage makes what a .dvc file tracks: the project's own file counts, as for DVC
            outs = [out for out in outs if isinstance(out.stage, PipelineStage)]
        inside = [(out, dep.fs_path) for out in outs if self._repo.fs.isin(dep.fs_path, out.fs_path)]
        return inside or [(out, None) for out in outs]

    def absent(self, dep: Any) -> Produced:
        """Those that are to be checked out: a file of params that is there has the values of this run."""
        return [] if is_param(dep) and dep.exists else self.of(dep)

    def make_all_of(self, dep: Any) -> bool:
        """Whether one output is, or holds, all of the dependency."""
        producers = self.of(dep)
        return len(producers) == 1 and not self.lie_in(dep, producers[0][0])

    def lie_in(self, dep: Any, out: "Output") -> bool:
        """Whether the dependency is a folder around the output."""
        return dep.fs_path != out.fs_path and bool(self._repo.fs.isin(out.fs_path, dep.fs_path))


def is_param(dep: Any) -> bool:
    """Whether the dependency is params of a file."""
    from dvc.dependency import ParamsDependency

    return isinstance(dep, ParamsDependency)


def is_inside(out: Any) -> bool:
    """Whether DVC's cache and remote hold the output."""
    return bool(out.protocol == "local" and out.is_in_repo)
