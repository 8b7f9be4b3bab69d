"""A stage as dvc.yaml defines it: what can be said of it without the hashes of its dependencies."""

from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

from dvc_airflow.dvc.objects import Objects
from dvc_airflow.dvc.producers import is_inside
from dvc_airflow.dvc.unmet import blocked_outputs, refuse_tracked
from dvc_airflow.lockfile import lock_file_of

if TYPE_CHECKING:
    from dvc.stage import PipelineStage


class DefinedStage:
    """A stage of an opened workspace.

    :param objects: of the opened workspace.
    :param name: the stage as ``dvc repro`` takes it.
    """

    def __init__(self, objects: Objects, name: str) -> None:
        from dvc.dvcfile import load_file

        self.objects, self._repo = objects, objects.repo
        self._name = name
        file, _, self._short_name = name.rpartition(":")
        # All stages of the file: what reads and resolves it once, for `_load` is asked for several.
        self._stages = load_file(self._repo, str(Path(self._repo.root_dir) / (file or "dvc.yaml"))).stages
        self._stage = self._load()

    @property
    def command(self) -> str | list[str]:
        """What the stage runs."""
        command: str | list[str] = self._stage.cmd
        return command

    @property
    def is_frozen(self) -> bool:
        """Whether its result is the one in dvc.lock, whatever changed."""
        return bool(self._stage.frozen)

    @property
    def lock_file(self) -> str:
        """Where its entry belongs, relative to the project."""
        return lock_file_of(self._stage.path, Path(self._repo.root_dir))

    @property
    def has_persistent_outputs(self) -> bool:
        """Whether the stage goes on with what its last execution left (``persist: true``)."""
        return any(out.persist for out in self._stage.outs)

    @property
    def writes_outside(self) -> bool:
        """Whether an output lies outside the project, where neither cache nor remote hold it."""
        return not all(is_inside(out) for out in self._stage.outs)

    def always_runs(self) -> str | None:
        """Why DVC runs this stage whatever is known of it; None if it does not."""
        if self._stage.always_changed:
            return "always_changed in dvc.yaml"
        if self._stage.is_callback:
            return "it has neither dependencies nor outputs, so DVC cannot know whether anything changed"
        return None

    @property
    def output_paths(self) -> list[str]:
        """The outputs in the project, relative to it."""
        root = Path(self._repo.root_dir)
        return [Path(out.fs_path).relative_to(root).as_posix() for out in self._stage.outs if is_inside(out)]

    def refuse_tracked(self, tracked: Collection[str]) -> None:
        """See `dvc_airflow.dvc.unmet.refuse_tracked`."""
        refuse_tracked(self._stage, tracked, Path(self._repo.root_dir))

    def blocked_outputs(self) -> list[tuple[str, str]]:
        """See `dvc_airflow.dvc.unmet.blocked_outputs`."""
        return list(blocked_outputs(self._stage, Path(self._repo.root_dir)))

    def make_folders(self) -> None:
        """Make the folders that the outputs go into: in a checkout, earlier runs have left them."""
        for out in self._stage.outs:
            if is_inside(out):
                Path(out.fs_path).parent.mkdir(parents=True, exist_ok=True)

    def _load(self) -> "PipelineStage":
        return self._stages[self._short_name]
