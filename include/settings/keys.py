"""The keys of config/config.yaml: which there are, and what is said of one that is wrong."""

import json
from collections.abc import Collection, Iterator, Mapping
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from include.models.settings import KINDS_BY_NAME
from include.settings import PipelineConfig


@cache
def fields() -> dict[str, FieldInfo]:
    """Every value of the configuration, by its key such as ``data.csv.decimal``."""
    return dict(_fields_of(PipelineConfig))


def _fields_of(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, FieldInfo]]:
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from _fields_of(field.annotation, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", field


@cache
def known_keys() -> frozenset[str]:
    """All whole keys."""
    return frozenset(fields())


@cache
def key_sections() -> frozenset[str]:
    """Sections, and those within them: ``data``, ``data.csv``."""
    return frozenset(key.rsplit(".", depth)[0] for key in fields() for depth in range(1, key.count(".") + 1))


def suggestion(key: str, top: Collection[str] = tuple(PipelineConfig.model_fields)) -> str:
    """The nearest known key, or those of the same section.

    :param top: those without a section.
    """
    short = {f"model.{name}" for settings in KINDS_BY_NAME.values() for name in settings.model_fields}
    near = get_close_matches(key, sorted(known_keys() | key_sections() | short | set(top)), n=1)
    if near:
        return f" (did you mean {near[0]!r}?)."
    section = key.rpartition(".")[0]
    of_section = sorted(one for one in known_keys() if section and one.startswith(f"{section}."))
    return f"; valid: {', '.join(of_section or top)}."


def explained(error: ValidationError, where: str | Path) -> str:
    """What pydantic refused, for people.

    :param where: the values come from.
    """
    lines = []
    for problem in error.errors(include_url=False):
        key = ".".join(map(str, problem["loc"])) or "(whole file)"
        if problem["type"] == "extra_forbidden":
            lines.append(f"{key}: unknown key{(_moved(key) or _in_item(key) or suggestion(key)).removesuffix('.')}")
        elif problem["type"] == "missing":
            lines.append(f"{key}: is missing{_example(key)}")
        else:
            said = problem["msg"].removeprefix("Value error, ")
            # A rule about several values names their keys itself.
            if not said.startswith(
                f"{key}." if problem["loc"] else tuple(f"{one}." for one in PipelineConfig.model_fields)
            ):
                said = f"{key}: {said}"
            got = as_given(problem["input"])
            shown = "" if isinstance(problem["input"], Mapping) else f" (got {got})"
            lines.append(f"{said}{shown}")
    return f"{where}: " + "; ".join(lines) + ". Fix it there."


def as_given(value: Any) -> str:
    """A value as it is written in YAML and JSON, cut off where it is long."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _in_item(key: str) -> str:
    """The nearest key, or all, of an item of a list: for ``registry.slices.0.tolerence``."""
    item, _, name = key.rpartition(".")
    field = fields().get(item.rpartition(".")[0])
    of_item = [one for one in get_args(field.annotation) if hasattr(one, "model_fields")] if field else []
    if not of_item:
        return ""
    names = list(of_item[0].model_fields)
    near = get_close_matches(name, names, n=1)
    return f" (did you mean {f'{item}.{near[0]}'!r}?)" if near else f"; valid: {', '.join(names)}"


def _example(key: str) -> str:
    """A value to add for a key that a configuration of an earlier version lacks."""
    field = fields().get(key)
    return f"; add for example {key.rpartition('.')[2]}: {field.examples[0]}" if field and field.examples else ""


def _moved(key: str) -> str:
    """Where a hyperparameter stands that used to be directly below ``model``."""
    name = key.removeprefix("model.")
    kinds = [kind for kind, settings in KINDS_BY_NAME.items() if name in settings.model_fields]
    return f"; it belongs below its kind, as in model.{kinds[0]}.{name}" if key.startswith("model.") and kinds else ""
