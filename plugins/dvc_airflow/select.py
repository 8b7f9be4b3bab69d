"""``select`` and ``exclude``: which stages of a project become tasks, by DVC's names and dbt's signs."""

import re
from collections.abc import Callable, Iterable, Sequence
from difflib import get_close_matches
from fnmatch import fnmatchcase
from typing import NamedTuple

from dvc_airflow.project import DvcProjectError, StageSpec

SELECTOR = re.compile(r"(?P<before>\d*\+)?(?P<what>.*?)(?P<after>\+\d*)?")
TAG = "tag:"


def selected(
    stages: Sequence[StageSpec], select: str | Iterable[str], exclude: str | Iterable[str]
) -> tuple[StageSpec, ...]:
    """The stages that some selector of ``select`` matches, or all if it has none; but for those of ``exclude``.

    A selector is ``train`` (a stage, or all stages of a foreach or matrix), ``prepare@*`` (a pattern), ``sub/dvc.yaml``
    or ``sub/dvc.yaml:*`` (a file), ``tag:nightly`` (by ``meta: {tags: [nightly]}``); with ``+`` before it also what it
    needs, with ``+`` after it also what needs it, with a number at the ``+`` only that many steps far.

    :return: in the order of ``stages``.
    :raises DvcProjectError: a selector matches nothing, or nothing is left.
    """
    if not stages:
        raise DvcProjectError("the project's dvc.yaml defines no stage. Add one, as `dvc stage add` does.")
    graph = _Graph(stages)
    chosen = _matched(graph, "select", select) if _list(select) else {stage.name for stage in stages}
    left = chosen - _matched(graph, "exclude", exclude)
    if not left:
        raise DvcProjectError(
            f"select={select!r}, exclude={exclude!r}: no stage is left. Select more, or exclude fewer stages."
        )
    return tuple(stage for stage in stages if stage.name in left)


class _Graph:
    """The stages, and what each needs and is needed by."""

    def __init__(self, stages: Sequence[StageSpec]) -> None:
        self.stages = stages
        self.before = {stage.name: set(stage.upstream) for stage in stages}
        self.after: dict[str, set[str]] = {stage.name: set() for stage in stages}
        for stage in stages:
            for name in stage.upstream:
                self.after[name].add(stage.name)


class _Reach(NamedTuple):
    """How far a ``+`` reaches: None is as far as there is something."""

    steps: int | None

    @classmethod
    def of(cls, sign: str | None) -> "_Reach":
        digits = (sign or "").strip("+")
        return cls(0 if not sign else int(digits) if digits else None)

    def from_(self, names: set[str], next_to: dict[str, set[str]]) -> set[str]:
        """What lies within reach of these stages, and they themselves."""
        found, edge, steps = set(names), set(names), 0
        while edge and (self.steps is None or steps < self.steps):
            edge = {other for name in edge for other in next_to[name]} - found
            found |= edge
            steps += 1
        return found


def _matched(graph: _Graph, argument: str, selectors: str | Iterable[str]) -> set[str]:
    return {name for selector in _list(selectors) for name in _of_selector(graph, argument, selector)}


def _list(selectors: str | Iterable[str]) -> list[str]:
    found = [selectors] if isinstance(selectors, str) else list(selectors)
    if not all(isinstance(one, str) for one in found):
        raise DvcProjectError(f'select, exclude: give texts such as "train" or "+train", not {found!r}.')
    return found


def _of_selector(graph: _Graph, argument: str, selector: str) -> set[str]:
    parts = SELECTOR.fullmatch(selector.strip())
    what = parts["what"].strip() if parts else ""
    names = {stage.name for stage in graph.stages if what and _matcher(what)(stage)}
    if not names or parts is None:
        raise DvcProjectError(f"{argument}={selector!r} matches no stage. {_hint(graph.stages, what)}")
    before, after = _Reach.of(parts["before"]), _Reach.of(parts["after"])
    return before.from_(names, graph.before) | after.from_(names, graph.after)


def _matcher(what: str) -> Callable[[StageSpec], bool]:
    if what.startswith(TAG):
        return lambda stage: any(fnmatchcase(tag, what.removeprefix(TAG)) for tag in stage.tags)
    if what.startswith("dvc.yaml:"):
        matches = _matcher(what.removeprefix("dvc.yaml:"))
        return lambda stage: stage.file == "dvc.yaml" and matches(stage)
    return lambda stage: any(
        fnmatchcase(name, what)
        for name in (stage.name, stage.name.rpartition("@")[0], stage.file if what.endswith("dvc.yaml") else "")
        if name
    )


def _hint(stages: Sequence[StageSpec], what: str) -> str:
    if what.startswith(TAG):
        tags = sorted({tag for stage in stages for tag in stage.tags})
        return f"The tags in dvc.yaml (meta: tags) are {', '.join(tags) or 'none'}."
    names = [stage.name for stage in stages]
    near = get_close_matches(what, names, 3, 0.5)
    return f"Did you mean {' or '.join(near)}?" if near else f"The stages are {', '.join(names[:20])}."
