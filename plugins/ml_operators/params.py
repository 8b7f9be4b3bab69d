"""The trigger form: Airflow Params made from the Pydantic model of the configuration."""

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from airflow.sdk import Param, get_parsing_context

from include.settings import PipelineConfig
from include.settings.config_file import FORCE, PIPELINE, is_fixed, value_at
from include.settings.keys import fields

# What Airflow's form shows of a JSON schema; it ignores anyOf, and exclusive bounds are checked but not shown.
SHOWN = (
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "minLength",
    "maxLength",
    "pattern",
    "enum",
    "format",
)


NOT_GIVEN = object()


class KnownParam(Param):
    """A value as tasks see it. The trigger form, and the task that reads the run's conf, have checked it by then.

    Airflow copies all Params of a DAG for each of its operators, and checks all of them against their schemas in each
    task. With those of the form that takes more time than the work of most tasks.
    """

    def __deepcopy__(self, memo: dict[int, Any]) -> "KnownParam":
        return self  # all that it is copied for belongs to the one task of this process

    def resolve(self, value: Any = NOT_GIVEN, suppress_exception: bool = False) -> Any:
        """The value, unchecked."""
        if value is not NOT_GIVEN:
            self.value = value
        return self.value


def trigger_form(config: PipelineConfig) -> dict[str, Param]:
    """One Param per value that a run may change, by key (``model.C``), default from config/config.yaml; and `FORCE`.

    What the form sends is the run's conf; `include.settings.config_file.apply_overrides` and the model check it again.
    """
    force = Param(
        False,
        type="boolean",
        title="Run every stage",
        description="Run every stage, even if its result is known; each reports whether its outputs changed",
        section="Run",
    )
    return {**form_of(config, PIPELINE), FORCE: force}


def form_of(config: PipelineConfig, sections: Collection[str]) -> dict[str, Param]:
    """One Param per value of these sections that a run may change."""
    if get_parsing_context().task_id:  # a task parses the DAG's file: nobody sees the form
        return {key: KnownParam(value) for key, value in _plain_values(config, sections)}
    return {key: _param(key, value, schema) for key, value, schema in _values(config, sections)}


def _plain_values(config: PipelineConfig, sections: Collection[str]) -> Iterator[tuple[str, Any]]:
    """The same values as `_values`, without the schema, which takes time to make."""
    document = config.model_dump(mode="json")
    for key in fields():
        if key.partition(".")[0] in sections and not is_fixed(key):
            yield key, value_at(document, key)


def _values(config: PipelineConfig, sections: Collection[str]) -> Iterator[tuple[str, Any, dict[str, Any]]]:
    document = config.model_dump(mode="json")
    schema = PipelineConfig.model_json_schema()
    for section in sections:
        yield from _within(f"{section}.", document[section], schema["properties"][section], schema["$defs"])


def _within(
    prefix: str, values: Mapping[str, Any], schema: Mapping[str, Any], definitions: Mapping[str, Any]
) -> Iterator[tuple[str, Any, dict[str, Any]]]:
    """The values of a section, and of the sections within it."""
    properties = definitions[schema["$ref"].rpartition("/")[2]]["properties"]
    for name, rule in properties.items():
        if "$ref" in rule:
            yield from _within(f"{prefix}{name}.", values[name], rule, definitions)
        elif not is_fixed(f"{prefix}{name}"):
            yield f"{prefix}{name}", values[name], rule


def _param(key: str, value: Any, schema: Mapping[str, Any]) -> Param:
    section, _, name = key.rpartition(".")
    merged = _flat(schema)
    shown = {rule: merged[rule] for rule in SHOWN if rule in merged}
    return Param(
        value,
        type=merged["type"],
        title=name,
        description=schema.get("description"),
        section=section.replace(".", ": ").capitalize(),  # "Model: random_forest": closed until it is clicked
        **shown,
    )


def _flat(schema: Mapping[str, Any]) -> dict[str, Any]:
    """``anyOf``, which the form cannot show, as one schema with a list of types; the form goes by the first."""
    if "anyOf" not in schema:
        return {"type": "string", **schema}
    *some, last = sorted(schema["anyOf"], key=lambda option: option.get("type") == "null")
    if last.get("type") != "null":
        some.append(last)
    flat = {**schema, **some[0]}
    types = [option.get("type", "string") for option in some] + (["null"] if last.get("type") == "null" else [])
    choices = flat.get("enum", [flat["const"]] if "const" in flat else None)
    if len(some) > 1:  # auto, or a list
        return {"type": types, **{name: value for name, value in schema.items() if name != "anyOf"}}
    return {**flat, "type": types, **({"enum": [*choices, None]} if choices else {})}
