"""The trigger form, made from the model of the configuration."""

import pytest
from airflow.sdk import DAG, BaseOperator
from airflow.sdk.definitions.param import process_params
from airflow.sdk.exceptions import ParamValidationError

from include.errors import ConfigError
from include.settings import PipelineConfig
from include.settings.config_file import FORCE, PIPELINE, SCORING, apply_overrides, is_fixed, validate_config
from ml_operators.params import form_of, trigger_form


def flat(document, prefix=""):
    """The values by their whole keys; the tolerances are one value."""
    found = {}
    for name, value in document.items():
        nested = isinstance(value, dict) and name != "tolerances"
        found |= flat(value, f"{prefix}{name}.") if nested else {f"{prefix}{name}": value}
    return found


@pytest.fixture
def form(config_document):
    return trigger_form(validate_config(config_document))


def test_the_form_has_every_value_that_a_run_may_change_with_the_files_values_as_defaults(form, config_document):
    expected = {
        key: value
        for key, value in flat(config_document).items()
        if key.partition(".")[0] in PIPELINE and not is_fixed(key)
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
    assert form["model.logistic_regression.solver"].schema["enum"][0] == "lbfgs"
    assert form["model.logistic_regression.class_weight"].schema["type"] == ["string", "null"]
    assert form["model.logistic_regression.class_weight"].schema["enum"] == ["balanced", None]
    assert form["data.version"].schema["type"] == ["string", "null"]
    assert all("anyOf" not in param.schema and "$ref" not in param.schema for param in form.values())


@pytest.mark.parametrize(
    ("key", "value"),
    [("model.logistic_regression.C", 0), ("split.test_size", 1), ("model.kind", "adam"), ("data.target", "")],
)
def test_a_value_out_of_bounds_is_refused_by_the_form_too(form, key, value):
    with pytest.raises(ParamValidationError):
        form[key].resolve(value)


def test_a_mapping_is_an_object_of_the_form_whose_keys_are_checked(form):
    tolerances = form["registry.tolerances"]

    assert tolerances.schema["type"] == "object"
    assert tolerances.resolve({"test_f1_macro": 0.1}) == {"test_f1_macro": 0.1}


def test_the_form_of_another_dag_has_its_own_section_alone(config_document):
    form = form_of(validate_config(config_document), SCORING)

    assert {key: param.resolve() for key, param in form.items()} == {
        f"scoring.{name}": value for name, value in flat(config_document["scoring"]).items()
    }


def test_a_value_for_another_dag_is_refused(config_document):
    with pytest.raises(ConfigError, match=r"conf: scoring\.input belongs to another DAG; this one uses: paths, data, "):
        apply_overrides(config_document, {"scoring.input": "x.csv"}, "conf")


def test_what_the_dag_is_built_from_is_not_in_the_form(form):
    assert "registry.approval" not in form
    assert not any(key.startswith(("paths.", "schedule.")) for key in form)


def test_what_the_form_sends_is_what_the_file_says(form, config_document):
    sent = {key: param.resolve() for key, param in form.items() if key != FORCE}

    assert apply_overrides(config_document, sent, "conf") == config_document


def test_another_kind_of_model_is_chosen_with_all_other_fields_as_they_were(form, config_document):
    sent = {key: param.resolve() for key, param in form.items() if key != FORCE} | {"model.kind": "random_forest"}

    assert validate_config(apply_overrides(config_document, sent, "conf")).model.settings.n_estimators == 200


def test_the_hyperparameters_of_each_kind_are_a_closed_part_of_the_form(form):
    assert form["model.kind"].schema["section"] == "Model"
    assert form["model.random_forest.n_estimators"].schema["section"] == "Model: random_forest"


@pytest.mark.parametrize("key", ["data.drop", "data.keep", "data.categorical", "data.csv.missing"])
def test_names_of_columns_are_a_list_that_may_be_empty(form, key):
    assert form[key].resolve(["a, b", "c"]) == ["a, b", "c"]
    assert form[key].resolve(None) is None


def test_a_task_has_the_same_values_without_what_only_the_form_shows(form, config_document, monkeypatch):
    monkeypatch.setenv("_AIRFLOW_PARSING_CONTEXT_TASK_ID", "setup_bucket")
    known = trigger_form(validate_config(config_document))

    assert {key: param.resolve() for key, param in known.items()} == {
        key: param.resolve() for key, param in form.items()
    }
    assert not any(param.schema for key, param in known.items() if key != FORCE)


def test_in_a_task_the_values_of_the_run_stand_in_place_of_the_files(config_document, monkeypatch):
    monkeypatch.setenv("_AIRFLOW_PARSING_CONTEXT_TASK_ID", "t")
    with DAG("d", params=trigger_form(validate_config(config_document)), schedule="@daily") as dag:
        task = BaseOperator(task_id="t")
    conf = {"split.test_size": 0.5, "model": {"kind": "random_forest"}}

    seen = process_params(dag, task, conf, suppress_exception=False)

    assert seen["split.test_size"] == 0.5
    assert seen["data.target"] == config_document["data"]["target"]
    assert seen["model"] == {"kind": "random_forest"}
