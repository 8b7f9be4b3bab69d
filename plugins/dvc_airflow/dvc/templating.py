"""What DVC's templating (``${...}``) of a project reads, and what for."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dvc.parsing import EntryDefinition, ForeachDefinition, MatrixDefinition
from dvc.parsing.context import Context, CtxDict, Node

#: Where a value decides what a stage is, not what it computes: its command, its files, how many there are of it.
DECIDING = {
    "cmd": "the command of stage {} interpolates it",
    "wdir": "the working directory of stage {} depends on it",
    "deps": "the dependencies of stage {} depend on it",
    "outs": "the outputs of stage {} depend on it",
    "metrics": "the metrics of stage {} depend on it",
    "plots": "the plots of stage {} depend on it",
    "foreach": "the stages {}@... are made of it",
    "matrix": "the stages {}@... are made of it",
}


@dataclass
class Templating:
    """What was read.

    ``files`` are the variable files. ``decided`` says what a value decides, by the file that it stands in and its key
    there (``models.0``), in words for people. ``chosen`` are those that say which params a stage has
    (``params: ["models.${kind}"]``).
    """

    files: set[Path] = field(default_factory=set)
    decided: dict[tuple[Path, str], str] = field(default_factory=dict)
    chosen: set[tuple[Path, str]] = field(default_factory=set)


class _Recorder:
    """Stands between DVC's resolver and its context. Not for several threads: DVC's classes are changed meanwhile."""

    def __init__(self) -> None:
        self.found = Templating()
        self._doing: tuple[str, str] | None = None  # the key of a stage that is being resolved, and the stage

    def during(self, original: Any, name_of: Any) -> Any:
        """A method of a definition that resolves one of its keys."""

        def resolve(definition: Any, *args: Any, **kwargs: Any) -> Any:
            before, self._doing = self._doing, (name_of(args), definition.name)
            try:
                return original(definition, *args, **kwargs)
            finally:
                self._doing = before

        return resolve

    def tracking(self, original: Any) -> Any:
        """The method that DVC calls with each value that an interpolation selects."""

        def track(context: Any, node: Any) -> None:
            key, stage = self._doing or (None, None)
            found = {(Path(source).resolve(), name) for source, name in _sources(node)} if key else set()
            if key == "params":
                self.found.chosen |= found
            elif key in DECIDING:
                for value in found:
                    self.found.decided.setdefault(value, DECIDING[key].format(stage))
            original(context, node)

        return track

    def loading(self, original: Any) -> Any:
        """The method that reads a variable file."""

        def load_from(cls: type[Context], fs: Any, path: str, select_keys: list[str] | None = None) -> Context:
            self.found.files.add(Path(path))
            return original(cls, fs, path, select_keys)

        return classmethod(load_from)


def _sources(node: Any) -> Iterator[tuple[str, str]]:
    """The files and keys that a value comes from; of a section, those of all that is in it."""
    if isinstance(node, CtxDict):
        for inner in node.data.values():
            yield from _sources(inner)
    elif isinstance(node, Node):
        for source, keys in node.get_sources().items():
            yield from ((source, key) for key in ([keys] if isinstance(keys, str) else keys) if source)


@contextmanager
def recorded_templating() -> Iterator[Templating]:
    """Record what DVC's templating does in the block. There is no public way to ask it."""
    recorder = _Recorder()
    changes = {
        (Context, "load_from"): recorder.loading(Context.load_from.__func__),
        (Context, "_track_data"): recorder.tracking(Context._track_data),
        (EntryDefinition, "_resolve"): recorder.during(EntryDefinition._resolve, lambda args: args[2]),
        (EntryDefinition, "_resolve_wdir"): recorder.during(EntryDefinition._resolve_wdir, lambda args: "wdir"),
        (ForeachDefinition, "_resolve_foreach_data"): recorder.during(
            ForeachDefinition._resolve_foreach_data, lambda args: "foreach"
        ),
        (MatrixDefinition, "_resolve_matrix_data"): recorder.during(
            MatrixDefinition._resolve_matrix_data, lambda args: "matrix"
        ),
    }
    originals: dict[Any, Any] = {}
    try:
        for (cls, name), changed in changes.items():
            originals[cls, name] = cls.__dict__[name]
            setattr(cls, name, changed)
        yield recorder.found
    finally:
        for (cls, name), original in originals.items():
            setattr(cls, name, original)
