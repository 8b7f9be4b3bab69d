"""The trigger form: Airflow Params made from the Pydantic model of the configuration."""

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from airflow.sdk import Param

from include.settings import PipelineConfig
from include.settings.config_file import PIPELINE, is_fixed

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


FORCE = "force"


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
    return {key: _param(key, value, schema) for key, value, schema in _values(config, sections)}


def _values(config: PipelineConfig, sections: Collection[str]) -> Iterator[tuple[str, Any, dict[str, Any]]]:
    document = config.model_dump(mode="json")
    definitions = PipelineConfig.model_json_schema()["$defs"]
    for section in sections:
        field = PipelineConfig.model_fields[section]
        properties = definitions[field.annotation.__name__]["properties"]  # type: ignore[union-attr]
        for name, schema in properties.items():
            if not is_fixed(f"{section}.{name}"):
                yield f"{section}.{name}", document[section][name], schema


def _param(key: str, value: Any, schema: Mapping[str, Any]) -> Param:
    section, _, name = key.partition(".")
    merged = _flat(schema)
    shown = {rule: merged[rule] for rule in SHOWN if rule in merged}
    return Param(
        value,
        type=merged["type"],
        title=name,
        description=schema.get("description"),
        section=section.capitalize(),
        **shown,
    )


def _flat(schema: Mapping[str, Any]) -> dict[str, Any]:
    """``anyOf: [X, null]``, which the form cannot show, as X with a list of types."""
    if "anyOf" not in schema:
        return {"type": "string", **schema}
    (some,) = [option for option in schema["anyOf"] if option.get("type") != "null"]
    flat = {"type": "string", **schema, **some}
    choices = flat.get("enum", [flat["const"]] if "const" in flat else None)
    return {**flat, "type": [flat["type"], "null"], **({"enum": [*choices, None]} if choices else {})}
