"""The trigger form of a project: an Airflow Param per value of its params and variable files."""

from collections.abc import Iterable, Mapping
from typing import Any

from airflow.sdk import Param, get_parsing_context

from dvc_airflow.param_types import FORCE, json_schema, json_type
from dvc_airflow.project import DvcProjectError, ProjectParam


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
        schema = {"const": param.value, "type": json_type(param.value), "$comment": what}
        return Param(param.value, title=name, section=section, description=what, **schema)
    return Param(default, title=name, section=section, description=param.name, **json_schema(param.value))
