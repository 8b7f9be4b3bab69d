"""The trigger form of a project: an Airflow Param per value of its params and variable files."""

from collections.abc import Iterable, Mapping
from typing import Any

from airflow.sdk import Param, get_parsing_context

from dvc_airflow.project import DvcProjectError, ProjectParam

#: The Param by which a run executes every stage.
FORCE = "run_every_stage"
TYPES = {bool: "boolean", int: "integer", float: "number", str: "string", list: "array", dict: "object"}
ANY = ["string", "number", "boolean", "array", "object", "null"]


def params_form(params: Iterable[ProjectParam], values: Mapping[str, Any] | None = None) -> dict[str, Param]:
    """One Param per value, by its name (`ProjectParam.name`), and `FORCE`; sections are those of the files.

    What a run may not change is shown with the reason, and cannot be edited. The form's default is the file's value
    when the DAG was parsed; a run changes only what differs from its own files, see `dvc_airflow.dvc.values`.

    :param values: other defaults, by name.
    :raises DvcProjectError: a value has the name of `FORCE`.
    """
    form = {param.name: _param(param, (values or {}).get(param.name, param.value)) for param in params}
    if FORCE in form:
        raise DvcProjectError(f"params.yaml: {FORCE} is the name of a field of every form. Rename that param.")
    form[FORCE] = Param(
        False,
        type="boolean",
        title="Run every stage",
        description="Run every stage, even if its result is known; each reports whether its outputs changed",
        section="Run",
    )
    return form


def _param(param: ProjectParam, default: Any) -> Param:
    *above, name = param.steps
    of_file = [] if param.file == "params.yaml" else [param.file]
    section = ": ".join([*of_file, *above]) or "params.yaml"
    if get_parsing_context().task_id:  # nobody sees the form
        return Param(default)
    if param.fixed:
        what = f"Fixed: {param.fixed}. Change it in {param.file}."
        # Where Airflow refuses another value, it shows the schema and not the description.
        schema = {"const": param.value, "type": _type(param.value), "$comment": what}
        return Param(param.value, title=name, section=section, description=what, **schema)
    return Param(default, title=name, section=section, description=param.name, **json_schema(param.value))


def json_schema(value: Any) -> dict[str, Any]:
    """The JSON schema of values of the same type; null may become anything."""
    if value is None:
        return {"type": ANY}
    if isinstance(value, list):
        kinds = {_type(one) for one in value}
        return {"type": "array", **({"items": {"type": kinds.pop()}} if len(kinds) == 1 else {})}
    return {"type": _type(value)}


def _type(value: Any) -> Any:
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
