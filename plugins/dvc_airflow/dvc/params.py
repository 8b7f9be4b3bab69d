"""The values of a project's params and variable files: which of them a run may change."""

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from dvc.dependency.param import ParamsDependency
from dvc.stage import PipelineStage
from dvc.utils.serialize import LOADERS

from dvc_airflow.dvc.templating import Templating
from dvc_airflow.project import ProjectParam
from dvc_airflow.project_files import is_in

UNUSED = "no stage depends on it"
CODE = "a Python file is code"
NO_FORM = "JSON, and so a form, has nothing for it"


def project_params(root: Path, stages: Iterable[PipelineStage], templating: Templating) -> list[dict[str, Any]]:
    """All values of the files that are params or variables of these stages, as `ProjectParam` has them."""
    used = _Used(root, stages)
    for path, key in templating.chosen:
        used.add(path, {key})
    files = {path.resolve() for path in templating.files} | used.keys.keys()
    own = sorted(path for path in files if path.is_relative_to(root) and path.is_file())
    return [asdict(param) for path in own for param in _of_file(root, path, used, templating)]


class _Used:
    """Which keys of which files the stages depend on."""

    def __init__(self, root: Path, stages: Iterable[PipelineStage]) -> None:
        #: the keys, by file; an empty set: all of it
        self.keys: dict[Path, set[str]] = {}
        #: paths that stages depend on as a whole
        self.whole: set[str] = set()
        for dep in (dep for stage in stages for dep in stage.deps if dep.protocol == "local"):
            path = Path(dep.fs_path).resolve()
            if isinstance(dep, ParamsDependency):
                self.add(path, set(map(str, dep.params)))
            elif path.is_relative_to(root):
                self.whole.add(path.relative_to(root).as_posix())

    def add(self, path: Path, keys: set[str]) -> None:
        """Note that a stage depends on these keys of a file.

        :param keys: none: on all of it.
        """
        if not keys or self.keys.get(path) == set():
            self.keys[path] = set()
        else:
            self.keys.setdefault(path, set()).update(keys)

    def has(self, file: str, path: Path, key: str) -> bool:
        """Whether a stage depends on a value."""
        keys = self.keys.get(path)
        return is_in(file, self.whole) or keys == set() or any(_overlap(key, one) for one in keys or ())


def _of_file(root: Path, path: Path, used: _Used, templating: Templating) -> Iterator[ProjectParam]:
    file = path.relative_to(root).as_posix()
    document = LOADERS[path.suffix.lower()](str(path))
    decided = {key: what for (source, key), what in templating.decided.items() if source == path}
    for steps, value in _leaves((), document if isinstance(document, Mapping) else {}):
        key = ".".join(map(str, steps))
        has_form = _is_json(value) and all(isinstance(step, str) for step in steps)
        fixed = next((what for one, what in decided.items() if _overlap(key, one)), None)
        if fixed is None and path.suffix.lower() == ".py":
            fixed = CODE
        if fixed is None and not used.has(file, path, key):
            fixed = UNUSED
        if fixed is None and not has_form:
            fixed = NO_FORM
        yield ProjectParam(file, tuple(map(str, steps)), value if has_form else str(value), fixed)


def _leaves(steps: tuple[Any, ...], value: Any) -> Iterator[tuple[tuple[Any, ...], Any]]:
    """What is no section."""
    if isinstance(value, Mapping) and (value or not steps):
        for name, inner in value.items():
            yield from _leaves((*steps, name), inner)
    else:
        yield steps, value


def _is_json(value: Any) -> bool:
    if isinstance(value, list):
        return all(map(_is_json, value))
    if isinstance(value, dict):
        return all(isinstance(name, str) and _is_json(inner) for name, inner in value.items())
    if isinstance(value, float):
        return math.isfinite(value)  # Airflow has texts for the others
    return value is None or isinstance(value, str | int)


def _overlap(one: str, other: str) -> bool:
    """Whether one key is the other, or a section around it."""
    return one == other or one.startswith(f"{other}.") or other.startswith(f"{one}.")
