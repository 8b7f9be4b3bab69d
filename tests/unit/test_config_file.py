"""Reading and overriding config/config.yaml."""

import pytest

from include.errors import ConfigError
from include.settings.config_file import (
    SCORING,
    apply_overrides,
    dump_yaml,
    load_config,
    parse_yaml,
    read_config_document,
)


@pytest.fixture
def write(tmp_path):
    def write(text: str):
        (tmp_path / "config").mkdir(exist_ok=True)
        (tmp_path / "config" / "config.yaml").write_text(text)
        return tmp_path

    return write


def test_a_missing_file_is_named_with_the_remedy(tmp_path):
    with pytest.raises(ConfigError, match=r"config/config\.yaml is missing in .*git checkout"):
        load_config(tmp_path)


def test_broken_yaml_is_named_with_line_and_column(write):
    with pytest.raises(ConfigError, match=r"config/config\.yaml, line 3, column 6: not valid YAML"):
        load_config(write("model:\n  C: [1\nsplit: 2\n"))


def test_a_key_that_stands_twice_is_refused(write):
    with pytest.raises(ConfigError, match=r'line 2.*found duplicate key "a"'):
        load_config(write("a: 1\na: 2\n"))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "config/config.yaml is empty. Bring it back with: git checkout"),
        ("# nothing\n", "is empty"),
        ("- model\n", r'must be a mapping of sections, not \["model"\]'),
    ],
)
def test_a_file_without_sections_is_refused(write, text, said):
    with pytest.raises(ConfigError, match=said):
        load_config(write(text))


def test_a_file_that_is_no_text_is_refused(write):
    folder = write("")
    (folder / "config" / "config.yaml").write_bytes(b"\xff\xfe\x00")

    with pytest.raises(ConfigError, match=r"config\.yaml cannot be read"):
        load_config(folder)


def test_a_date_without_quotes_is_refused_because_dvc_would(write):
    with pytest.raises(ConfigError, match=r'schedule\.start_date: put the date in quotes: "2026-01-01"'):
        read_config_document(write("schedule:\n  start_date: 2026-01-01\n"))


def test_numbers_are_read_as_dvc_reads_them():
    assert parse_yaml("a: 1e-4\nb: on\n", "x") == {"a": 1e-4, "b": "on"}


def test_who_changes_what_was_read_changes_it_for_nobody_else():
    parse_yaml("a: {b: [1]}", "x")["a"]["b"].append(2)

    assert parse_yaml("a: {b: [1]}", "x") == {"a": {"b": [1]}}


def test_what_is_dumped_reads_back_the_same(config_document):
    assert parse_yaml(dump_yaml(config_document), "x") == config_document
    assert list(parse_yaml(dump_yaml(config_document), "x")) == list(config_document)


@pytest.mark.parametrize(
    "overrides",
    [
        {"model": {"C": 2.5}},
        {"model.C": 2.5},
        {"model.logistic_regression.C": 2.5},
        {"model": {"logistic_regression": {"C": 2.5}}},
        {"model.logistic_regression": {"C": 2.5}, "model.random_forest.n_estimators": 200},
    ],
)
def test_an_override_changes_its_value_and_nothing_else(config_document, overrides):
    merged = apply_overrides(config_document, overrides, "conf")

    hyperparameters = {**config_document["model"]["logistic_regression"], "C": 2.5}
    assert merged["model"] == {**config_document["model"], "logistic_regression": hyperparameters}
    assert {**merged, "model": None} == {**config_document, "model": None}
    assert config_document["model"]["logistic_regression"]["C"] == 1.0


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        ({"model": {"c": 2.5}}, "conf: unknown key 'model.c' (did you mean 'model.C'?)."),
        ({"mdoel": {"C": 1}}, "conf: unknown key 'mdoel'"),
        ({"forced": True}, "conf: unknown key 'forced' (did you mean 'force'?)."),
        ({"run_every_stage": True}, "conf: unknown key 'run_every_stage' (did you mean 'force'?)."),
        ({"Run every stages": True}, "conf: unknown key 'Run every stages' (did you mean 'force'?)."),
        ({"all": True}, "conf: unknown key 'all' (did you mean 'force'?)."),
        ({"x": 1}, "conf: unknown key 'x'; valid: data, split, model, mlflow, registry, storage, force."),
        ({"model": 3}, "conf: model must be a mapping"),
        ({"": 1}, "conf: unknown key ''"),
        ({"model.kind": ["random_forest"], "model.C": 1.0}, "conf: unknown key 'model.C'"),
        ({"data.csv.seperator": ";"}, "conf: unknown key 'data.csv.seperator' (did you mean 'data.csv.separator'?)."),
        ({"data.csv": ";"}, "conf: data.csv must be a mapping"),
        (
            {"model.kind": "random_forest", "model.C": 1.0},
            "conf: model.C is a hyperparameter of logistic",
        ),
        (
            {"model.random_forest.n_estimators": 5},
            "conf: model.random_forest.n_estimators is changed",
        ),
        ({"model.C": 1, "model": {"C": 2}}, "conf: model.logistic_regression.C has two values, 1 and 2. Give it once."),
        (
            {"model.logistic_regression.C": 1, "model.C": 2},
            "conf: model.logistic_regression.C has two values, 1 and 2.",
        ),
        ({"paths.model": "x"}, "conf: paths.model cannot change per run"),
        ({"schedule": {"retries": 0}}, "conf: schedule.retries cannot change per run"),
    ],
)
def test_a_wrong_override_is_refused(config_document, overrides, said):
    with pytest.raises(ConfigError) as caught:
        apply_overrides(config_document, overrides, "conf")

    assert str(caught.value).startswith(said)


def test_only_the_pipeline_can_be_forced(config_document):
    for name in ("x", "run_every_stage"):
        with pytest.raises(ConfigError, match=rf"^conf: unknown key '{name}'; valid: scoring\.$"):
            apply_overrides(config_document, {name: 1}, "conf", SCORING)
