"""The manifest: what is read back, what is refused, and what differs between two."""

import json
from types import SimpleNamespace

import pytest

from include.errors import DataError
from include.lineage.code_state import Code
from include.lineage.differences import differences, own_values
from include.lineage.manifest import AirflowRun, Manifest, build, parse


def manifest(config, *, accuracy: float = 0.95, train: str = "b" * 32, run_id: str = "run-1") -> Manifest:
    outs = [{"path": config.paths.train_data, "md5": train, "size": 10, "hash": "md5"}]
    deps = [{"path": "include/stages/preprocess.py", "md5": "c" * 32, "size": 5, "hash": "md5"}]
    result = SimpleNamespace(
        stage="preprocess",
        outcome="executed",
        reason="no earlier run was found",
        seconds=1.0,
        started_at="2026-01-01T00:00:00+00:00",
        executed_in=run_id,
        lock={"dvc.lock": {"preprocess": {"cmd": "x", "deps": deps, "outs": outs}}},
        published={
            config.paths.mlflow_run: json.dumps({"run_id": "m", "experiment_id": "1", "model_uri": "models:/m-1"}),
            config.paths.columns: json.dumps({"warnings": ["a leak"]}),
            config.paths.metrics: json.dumps({"train": {"accuracy": 1.0}, "test": {"accuracy": accuracy}}),
        },
    )
    run = AirflowRun(
        dag_id="ml_pipeline", run_id=run_id, logical_date=None, try_number=1, started_at="2026-01-01T00:00:00+00:00"
    )
    return build(config, run, [result], Code(git_sha="a" * 40, dirty=False))


@pytest.fixture
def config(config_document):
    from include.settings.config_file import validate_config

    return validate_config(config_document)


def test_what_is_written_is_read_back(config):
    made = manifest(config)

    assert parse(made.model_dump_json(), "here") == made


def test_the_facts_of_the_stages_are_in_it(config):
    made = manifest(config)

    assert made.warnings == ["a leak"]
    assert made.metrics == {"train_accuracy": 1.0, "test_accuracy": 0.95}
    assert made.md5_of("train_data") == "b" * 32
    assert made.outcome_of("train_data") == "executed"
    assert made.outcome_of("model") is None
    assert [(file.role, file.path, file.size) for file in made.files] == [
        ("input", "include/stages/preprocess.py", 5),
        ("output", "data/processed/train.parquet", 10),
    ]
    assert made.packages["python"].startswith("3.")


def test_a_newer_schema_is_refused_with_the_remedy(config):
    document = {**manifest(config).model_dump(mode="json"), "schema_version": 4}

    with pytest.raises(DataError, match=r"here has schema version 4; this version reads 2 to 3\. Update this project"):
        parse(json.dumps(document), "here")


@pytest.mark.parametrize("text", ["", "{", "[]", '{"a": 1}', "null"])
def test_what_is_no_manifest_is_refused(text):
    with pytest.raises(DataError, match="here is not the manifest of a run"):
        parse(text, "here")


def test_a_manifest_with_a_missing_part_names_it(config):
    document = manifest(config).model_dump(mode="json")
    del document["airflow"]["run_id"]

    with pytest.raises(DataError, match=r"invalid: airflow\.run_id"):
        parse(json.dumps(document), "here")


def test_two_runs_differ_in_what_differs_and_in_nothing_else(config):
    changed = config.model.settings.model_copy(update={"C": 2.5})
    model = config.model.model_copy(update={"logistic_regression": changed})
    one = manifest(config)
    other = manifest(config.model_copy(update={"model": model}), accuracy=0.9, train="d" * 32, run_id="run-2")

    assert differences(one, one) == {part: {} for part in ("config", "data", "metrics", "code", "packages")}
    assert differences(one, other) == {
        "config": {"model.logistic_regression.C": (1.0, 2.5)},
        "data": {"train_data": ("b" * 32, "d" * 32)},
        "metrics": {"test_accuracy": (0.95, 0.9)},
        "code": {},
        "packages": {},
    }


def test_the_values_of_a_run_are_those_that_the_file_has_otherwise(config_document):
    run = json.loads(json.dumps(config_document))
    run["model"]["C"] = 0.5
    run["schedule"]["retries"] = 9  # the same for all runs
    run["scoring"]["prefix"] = "elsewhere"  # another DAG's

    assert own_values(config_document, config_document) == {}
    assert own_values(run, config_document) == {"model.C": 0.5}


def test_the_date_and_the_version_of_the_source_that_a_run_filled_in_are_not_values_of_its_own(config_document):
    config_document["data"] |= {"source": "s3://b/{date:%Y}.csv", "version": None}
    run = {**config_document, "data": {**config_document["data"], "source": "s3://b/2026.csv", "version": "1"}}

    assert own_values(run, config_document) == {}
    config_document["data"] |= {"source": "other.csv", "version": "2"}
    assert own_values(run, config_document) == {"data.source": "s3://b/2026.csv", "data.version": "1"}
