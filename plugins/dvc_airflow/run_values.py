"""What a run gives for the project's params: by the trigger form or its conf, or by the DAG."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import Any

from dvc_airflow.errors import TaskError
from dvc_airflow.param_types import FORCE, as_given, json_schema, of_same_type
from dvc_airflow.project import ProjectParam

NAMES_OF_FORCE = ("force", "forced", "run_all", "all")  # elsewhere


def values_of(
    given: Mapping[str, Any], params: Iterable[ProjectParam], where: str, *, is_conf: bool = True
) -> list[tuple[ProjectParam, Any]]:
    """Which params are to have which values.

    :param given: by the params' names, or nested as in the file: ``{"train.lr": 1}`` or ``{"train": {"lr": 1}}``.
    :param where: what gave them, for people.
    :param is_conf: whether `FORCE` could stand there too.
    :raises TaskError: there is no param of a name, or no run may change it, or its value is of another type, or
        it has two.
    """
    known = {param.name: param for param in params}
    found, seen = [], dict[str, Any]()
    for name, value in _by_name(given, known):
        if seen.setdefault(name, value) != value:
            both = f"{as_given(seen[name])} and {as_given(value)}"
            raise TaskError(f"{where}: {name} has two values, {both}. Give it once.")
        if name not in known:
            raise TaskError(f"{where}: {_unknown(name, known, is_conf=is_conf)}")
        param = known[name]
        if param.fixed:
            if value != param.value:
                raise TaskError(f"{where}: {name} is fixed for runs: {param.fixed}. Change it in {param.file}.")
        elif not of_same_type(value, param.value):
            raise TaskError(
                f"{where}: {name} must be of the type that it has in {param.file} ({_kind(param.value)}, now "
                f"{as_given(param.value)}), not {as_given(value)}."
            )
        else:
            found.append((param, value))
    return found


def merged(
    *values: Sequence[tuple[ProjectParam, Any]],
) -> list[tuple[ProjectParam, Any]]:
    """The values of several sources; the later ones win."""
    return list({param.name: (param, value) for source in values for param, value in source}.values())


def is_forced(given: Mapping[str, Any]) -> bool:
    """Whether the run executes every stage.

    :raises TaskError: it says neither.
    """
    force = given.get(FORCE, False)
    if not isinstance(force, bool):
        raise TaskError(f"the run's conf: {FORCE} must be true or false, not {as_given(force)}.")
    return force


def _by_name(given: Mapping[str, Any], known: Mapping[str, ProjectParam], above: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in given.items():
        name = f"{above}{key}"
        is_section = isinstance(value, Mapping) and name not in known
        if is_section and any(one.startswith(f"{name}.") for one in known):
            yield from _by_name(value, known, f"{name}.")
        elif is_section and any(one.startswith(f"{name}:") for one in known):
            yield from _by_name(value, known, f"{name}:")
        else:
            yield name, value


def _unknown(name: str, known: Mapping[str, ProjectParam], *, is_conf: bool) -> str:
    near = [FORCE] if is_conf and _means_force(name) else get_close_matches(name, known, 1, 0.5)
    hint = f"Did you mean {near[0]}?" if near else f"It has {', '.join(sorted(known)[:20]) or 'none'}."
    return f"the project's params and variable files have no value {name}. {hint}"


def _means_force(name: str) -> bool:
    plain = re.sub(r"[\s-]+", "_", name.strip().lower())  # the form shows it as "Run every stage"
    return plain in NAMES_OF_FORCE or bool(get_close_matches(plain, [FORCE], 1))


def _kind(value: Any) -> str:
    kind = json_schema(value)["type"]
    return "anything" if isinstance(kind, list) else str(kind)
