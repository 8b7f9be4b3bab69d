"""The trigger form, made from the model of the configuration."""

import pytest
from airflow.sdk.exceptions import ParamValidationError

from include.config_file import apply_overrides, validate_config
from include.settings import PipelineConfig
from ml_operators.params import FORCE, trigger_form


@pytest.fixture
def form(config_document):
    return trigger_form(validate_config(config_document))


def test_the_form_has_every_value_that_a_run_may_change_with_the_files_values_as_defaults(form, config_document):
    expected = {
        f"{section}.{name}": value
        for section, values in config_document.items()
        if section not in ("paths", "schedule")
        for name, value in values.items()
    }

    assert {key: param.resolve() for key, param in form.items()} == {**expected, FORCE: False}


def test_a_param_has_section_title_description_and_bounds(form):
    field = PipelineConfig.model_fields["split"].annotation.model_fields["test_size"]

    assert form["split.test_size"].description == field.description
    assert form["split.test_size"].schema == {
        "type": "number",
        "title": "test_size",
        "section": "Split",
        "exclusiveMinimum": 0,
        "exclusiveMaximum": 1,
    }


def test_choices_and_optionals_are_as_the_form_can_show_them(form):
    assert form["model.solver"].schema["enum"][0] == "lbfgs"
    assert form["model.class_weight"].schema["type"] == ["string", "null"]
    assert form["model.class_weight"].schema["enum"] == ["balanced", None]
    assert form["data.version"].schema["type"] == ["string", "null"]
    assert all("anyOf" not in param.schema and "$ref" not in param.schema for param in form.values())


@pytest.mark.parametrize(
    ("key", "value"), [("model.C", 0), ("split.test_size", 1), ("model.solver", "adam"), ("data.target", "")]
)
def test_a_value_out_of_bounds_is_refused_by_the_form_too(form, key, value):
    with pytest.raises(ParamValidationError):
        form[key].resolve(value)


def test_what_the_form_sends_is_what_the_file_says(form, config_document):
    sent = {key: param.resolve() for key, param in form.items() if key != FORCE}

    assert apply_overrides(config_document, sent, "conf") == config_document
