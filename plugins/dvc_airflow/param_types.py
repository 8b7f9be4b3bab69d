"""The types of a project's values, in a trigger form and in the conf of a run."""

import json
from collections.abc import Mapping
from typing import Any

#: The Param by which a run executes every stage.
FORCE = "run_every_stage"
TYPES = {bool: "boolean", int: "integer", float: "number", str: "string", list: "array", dict: "object"}
ANY = ["string", "number", "boolean", "array", "object", "null"]


def as_given(value: Any) -> str:
    """A value as it is written in YAML and JSON, for messages."""
    return json.dumps(value, ensure_ascii=False, default=str)


def json_schema(value: Any) -> dict[str, Any]:
    """The JSON schema of values of the same type; null may become anything."""
    if value is None:
        return {"type": ANY}
    if isinstance(value, list):
        kinds = {json_type(one) for one in value}
        return {"type": "array", **({"items": {"type": kinds.pop()}} if len(kinds) == 1 else {})}
    return {"type": json_type(value)}


def json_type(value: Any) -> Any:
    """The name that a JSON schema has for the type of a value."""
    return TYPES.get(type(value), "null")


def of_same_type(value: Any, example: Any) -> bool:
    """Whether a value may take the place of another: an integer is a number too, true is none."""
    if example is None:
        return True
    if isinstance(example, list):
        kinds = [one for one in example if isinstance(one, type(example[0]))] if example else []
        same = bool(kinds) and len(kinds) == len(example)
        return isinstance(value, list) and (not same or all(of_same_type(one, example[0]) for one in value))
    if isinstance(example, Mapping):
        return isinstance(value, Mapping)
    if isinstance(value, bool) or isinstance(example, bool):
        return isinstance(value, bool) and isinstance(example, bool)
    if isinstance(example, float):
        return isinstance(value, int | float)
    if isinstance(example, int):
        return isinstance(value, int) or (isinstance(value, float) and value.is_integer())
    return isinstance(value, type(example))
