"""The models of the configuration: bounds, choices, unknown keys, secrets."""

import re
from pathlib import Path
from typing import Any

import pytest

from include.errors import ConfigError
from include.settings import RuntimeSettings, load_runtime_settings
from include.settings.config_file import validate_config
from include.settings.keys import fields


def changed(document: dict[str, Any], key: str, value: Any) -> dict[str, Any]:
    section, _, rest = key.partition(".")
    return {**document, section: changed(document[section], rest, value)} if rest else {**document, key: value}


def test_the_file_of_the_project_is_valid(config_document):
    config = validate_config(config_document)

    assert config.data.source == "sklearn:iris"
    assert config.remote_url == "s3://ml-pipeline/dvc"


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("model.logistic_regression.C", 0, "model.logistic_regression.C: Input should be greater than 0"),
        ("model.logistic_regression.C", "strong", "model.logistic_regression.C: Input should be a valid number"),
        (
            "model.logistic_regression.max_iter",
            0,
            "max_iter: Input should be greater than or equal to 1",
        ),
        ("model.logistic_regression.max_iter", 1.5, "model.logistic_regression.max_iter"),
        ("model.logistic_regression.solver", "adam", "model.logistic_regression.solver: Input should be 'lbfgs'"),
        ("model.logistic_regression.class_weight", "heavy", "model.logistic_regression.class_weight"),
        ("split.test_size", 1, "split.test_size: Input should be less than 1"),
        ("split.test_size", 0, "split.test_size: Input should be greater than 0"),
        ("split.random_state", -1, "split.random_state"),
        ("data.max_missing_share", 1.2, "data.max_missing_share"),
        ("data.format", "xml", "data.format"),
        ("data.source", "", "data.source"),
        ("data.source", "a\nb", "must not contain control characters"),
        ("data.target", "x" * 2000, "data.target"),
        ("registry.minimum", 2, "registry.minimum"),
        ("registry.metric", "test_speed", "registry.metric"),
        ("registry.model_name", "a/b", "registry.model_name"),
        ("schedule.max_active_runs", 0, "schedule.max_active_runs"),
        ("schedule.start_date", "soon", "schedule.start_date"),
        ("schedule.date", "yesterday", "schedule.date: Input should be 'logical_date' or 'data_interval_start'"),
        ("schedule.date", "data_interval_start", "schedule.date: schedule.cron: null has no intervals"),
        ("schedule.wait_minutes", -1, "schedule.wait_minutes: Input should be greater than or equal to 0"),
        ("paths.model", "/etc/passwd", "paths.model"),
        ("paths.model", "../model.pkl", "paths.model"),
        ("paths.model", "models/$(id).pkl", "paths.model"),
        ("paths.model", "reports/metrics.json", "is the same file as paths.m"),
        ("paths.metrics", "reports/roc_curve.csv", "paths.metrics is a .csv file in paths.plots"),
    ],
)
def test_a_value_out_of_bounds_is_refused_with_key_file_and_rule(config_document, key, value, said):
    with pytest.raises(ConfigError, match=r"^config/config\.yaml: ") as caught:
        validate_config(changed(config_document, key, value))

    assert said in str(caught.value)


@pytest.mark.parametrize(
    "bucket", ["ab", "a" * 64, "Upper", "under_score", "-dash", "dash-", "a..b", "192.168.0.1", "a/b", "$(id)", "a b"]
)
def test_a_bucket_name_that_s3_forbids_is_refused(config_document, bucket):
    with pytest.raises(ConfigError, match=r"config\.yaml: storage\.bucket: "):
        validate_config(changed(config_document, "storage.bucket", bucket))


@pytest.mark.parametrize("bucket", ["abc", "my-bucket", "a.b-c.1", "0" * 63])
def test_a_bucket_name_that_s3_allows_is_accepted(config_document, bucket):
    assert validate_config(changed(config_document, "storage.bucket", bucket)).storage.bucket == bucket


def test_the_start_of_the_interval_needs_a_schedule_with_intervals(config_document):
    with_date = changed(config_document, "schedule.date", "data_interval_start")
    assert validate_config(changed(with_date, "schedule.cron", "0 6 * * *")).schedule.date == "data_interval_start"
    for preset in ("@once", "@continuous"):
        with pytest.raises(ConfigError, match=f"schedule.cron: {preset} has no intervals; set a cron expression there"):
            validate_config(changed(with_date, "schedule.cron", preset))


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("a/b", r"must not contain /, or MLflow could not load models:/NAME@champion"),
        ("a:b?", r"must not contain : \?,"),
        ("me@work", "must not contain @,"),
        ("model #1", "must not contain #,"),
        (" ", "must not be blank"),
        (".", "must not be blank, or '.'"),
        ("..", r"or begin with '\.\.'"),
        ("..m", r"or begin with '\.\.'"),
        ("m" * 256, "is too long: in keys of the object store it takes 256 bytes, and may take 255"),
        ("é" * 43, "takes 258 bytes"),
        ("a\x00b", "must not contain control characters"),
    ],
)
def test_a_model_name_that_another_service_cannot_take_is_refused_with_the_reason(config_document, name, said):
    with pytest.raises(ConfigError, match=rf"config\.yaml: registry\.model_name: .*{said}"):
        validate_config(changed(config_document, "registry.model_name", name))


@pytest.mark.parametrize(
    "name",
    ["o'brien", 'say "hi"', "back\\slash", "50%_off", ".m", "m..", "two words", "日本", "[x];&=+$,!*()~", "m" * 255],
)
def test_any_other_model_name_is_accepted(config_document, name):
    config = validate_config(changed(config_document, "registry.model_name", name))

    assert config.registry.model_name == name


def test_an_unknown_key_is_refused_and_the_nearest_one_named(config_document):
    with pytest.raises(ConfigError, match=r"split\.test_sise: unknown key \(did you mean 'split\.test_size'\?\)"):
        validate_config(changed(config_document, "split.test_sise", 0.2))


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("tolerence", r"\(did you mean 'registry\.slices\.1\.tolerance'\?\)"),
        ("xyz", "; valid: column, metric, minimum, tolerance, min_rows"),
    ],
)
def test_an_unknown_key_of_an_item_of_a_list_is_compared_with_those_of_the_item(config_document, name, said):
    slices = [{"column": "a", "minimum": 0.5}, {"column": "b", "minimum": 0.5, name: 0.1}]

    with pytest.raises(ConfigError, match=rf"registry\.slices\.1\.{name}: unknown key ?{said}\. Fix it there\.$"):
        validate_config(changed(config_document, "registry.slices", slices))


@pytest.mark.parametrize(
    ("value", "shown"), [(None, "null"), (True, "true"), ([None], "[null]"), (["ä" * 90], '["' + "ä" * 75 + "...")]
)
def test_a_wrong_value_is_shown_as_it_is_written_in_the_file(config_document, value, shown):
    with pytest.raises(ConfigError) as caught:
        validate_config(changed(config_document, "split.test_size", value))

    assert f"config.yaml: split.test_size: Input should be a valid number (got {shown})" in str(caught.value)


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("registry.min_gain", 0.1, "registry.min_gain: a gain of 0.1 has to be shown"),
        ("registry.slices", [{"column": "target", "minimum": 2.0}], "registry.slices.0.minimum: recall is never"),
        ("data.drop", ["target"], "data: drop names 'target', which is data.target"),
    ],
)
def test_a_rule_about_several_values_names_its_key_once(config_document, key, value, said):
    with pytest.raises(ConfigError, match=rf"^config/config\.yaml: {re.escape(said)}"):
        validate_config(changed(config_document, key, value))


def test_an_unknown_section_is_refused(config_document):
    with pytest.raises(ConfigError, match=r"modle: unknown key \(did you mean 'model'\?\)"):
        validate_config({**config_document, "modle": {}})


def test_a_missing_section_is_named(config_document):
    del config_document["split"]

    with pytest.raises(ConfigError, match="split: is missing"):
        validate_config(config_document)


def test_every_field_has_a_description():
    bare = [key for key, field in fields().items() if not field.description]

    assert bare == []


def test_runtime_settings_have_loopback_defaults_and_no_secret(tmp_path, monkeypatch):
    for name in ("AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)

    settings = load_runtime_settings(tmp_path)

    assert settings.aws_endpoint_url == "http://127.0.0.1:9000"
    assert settings.mlflow_tracking_uri == "http://127.0.0.1:5000"
    assert settings.aws_access_key_id is None
    assert settings.aws_secret_access_key is None


def test_the_environment_wins_over_the_env_file_and_the_file_over_the_default(tmp_path, monkeypatch):
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://from-environment")
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / ".env").write_text(
        "AWS_ENDPOINT_URL=http://from-file\nMLFLOW_TRACKING_URI=http://from-file\nSOMETHING_ELSE=1\n"
    )

    settings = load_runtime_settings(tmp_path)

    assert settings.aws_endpoint_url == "http://from-file"
    assert settings.mlflow_tracking_uri == "http://from-environment"


def test_a_secret_does_not_show_in_print_or_log():
    settings = RuntimeSettings(
        aws_access_key_id="me", aws_secret_access_key="hunter2", mlflow_tracking_password="hunter2"
    )

    assert "hunter2" not in f"{settings!r} {settings} {settings.model_dump()}"
    assert settings.store_environment()["AWS_SECRET_ACCESS_KEY"] == "hunter2"
    assert settings.tracking_environment()["MLFLOW_TRACKING_PASSWORD"] == "hunter2"


def test_the_example_env_file_lists_every_variable():
    from include.settings import PROJECT_DIR

    lines = Path(PROJECT_DIR / "config" / ".env.example").read_text().splitlines()
    named = sorted({line.removeprefix("#").partition("=")[0].strip() for line in lines if "=" in line})

    assert named == sorted(name.upper() for name in RuntimeSettings.model_fields)
