"""The DAG as Airflow sees it: its tasks and edges come from dvc.yaml, its schedule from config.yaml."""

import pytest


@pytest.fixture(scope="module")
def deployment(make_deployment):
    return make_deployment("structure")


@pytest.fixture(scope="module")
def dag(deployment):
    return deployment.described()


def test_the_dag_imports_without_an_error(deployment, dag):
    assert deployment.import_errors() == {}


def test_the_tasks_and_edges_are_those_of_the_design(dag):
    assert dag["edges"] == {
        "resolve_config": [
            "dvc_push",
            "pipeline.get_data",
            "pipeline.preprocess",
            "pipeline.train_and_evaluate",
            "promote_model",
            "record_lineage",
            "register_model",
            "setup_bucket",
        ],
        "setup_bucket": ["pipeline.get_data"],
        "pipeline.get_data": ["pipeline.preprocess"],
        "pipeline.preprocess": ["pipeline.train_and_evaluate"],
        "pipeline.train_and_evaluate": ["dvc_push"],
        "dvc_push": ["register_model"],
        "register_model": ["promote_model", "record_lineage"],
        "record_lineage": ["promote_model"],
        "promote_model": [],
    }


def test_stages_and_push_are_bash_operators_with_commands_to_paste(dag):
    commands = {name: command for name, command in dag["commands"].items() if command}

    assert commands == {
        "pipeline.get_data": "dvc repro --single-item get_data",
        "pipeline.preprocess": "dvc repro --single-item preprocess",
        "pipeline.train_and_evaluate": "dvc repro --single-item train_and_evaluate",
        "dvc_push": "dvc push",
    }
    assert all("BashOperator" in dag["types"][task] for task in commands)


def test_schedule_and_retries_come_from_the_configuration(deployment, dag):
    assert (dag["schedule"], dag["max_active_runs"], dag["catchup"]) == ("None", 4, False)
    assert dag["retries"] == [(1, 1.0)]
    assert dag["start_date"] == "2026-01-01T00:00:00+00:00"
    assert "resolve_config" in dag["doc"]


def test_the_form_is_stored_once_and_not_with_each_task(dag):
    assert "model.logistic_regression.C" in dag["params"]
    assert dag["copied_params"] == {}


def test_the_other_dags_import_and_scoring_waits_for_a_champion(deployment):
    rollback, scoring = deployment.described("ml_rollback"), deployment.described("score_batch")

    assert rollback["edges"] == {"roll_back": []}
    assert rollback["schedule"] == "None"
    assert scoring["edges"] == {"score": []}
    assert f"{deployment.model}:champion" in scoring["schedule"]
    assert scoring["max_active_runs"] == 1


def test_a_person_is_asked_between_gate_and_promotion_if_the_configuration_says_so(deployment):
    deployment.edit_config("approval: auto", "approval: manual")
    try:
        edges = deployment.described()["edges"]
    finally:
        deployment.edit_config("approval: manual", "approval: auto")

    assert edges["record_lineage"] == ["evaluate_model"]
    assert edges["evaluate_model"] == ["approve_promotion"]
    assert edges["approve_promotion"] == ["promote_model"]


def test_the_dag_waits_for_its_source_and_has_intervals_if_the_configuration_says_so(deployment, dag):
    file = deployment.project / "config" / "config.yaml"
    configured = file.read_text()
    try:
        deployment.edit_config("cron: null", 'cron: "0 6 * * *"')
        deployment.edit_config("date: logical_date\n", "date: data_interval_start\n")
        deployment.edit_config("wait_minutes: 0", "wait_minutes: 30")
        changed = deployment.described()
    finally:
        file.write_text(configured)

    assert changed["edges"]["wait_for_source"] == ["resolve_config"]
    assert changed["edges"]["resolve_config"] == dag["edges"]["resolve_config"]
    assert changed["schedule"].startswith("CronDataIntervalTimetable(expression='0 6 * * *'")


def test_a_change_of_dvc_yaml_and_config_yaml_changes_the_dag(deployment, dag):
    file, config = deployment.project / "dvc.yaml", deployment.project / "config" / "config.yaml"
    text, configured = file.read_text(), config.read_text()
    extra = "  explain: {cmd: wc -l reports/metrics.json > lines.txt, deps: ['${paths.metrics}'], outs: [lines.txt]}\n"
    try:
        file.write_text(text + extra)
        deployment.edit_config("cron: null", 'cron: "0 6 * * *"')
        deployment.edit_config("max_active_runs: 4", "max_active_runs: 7")
        changed = deployment.described()
    finally:
        file.write_text(text)
        config.write_text(configured)

    assert changed["edges"]["pipeline.train_and_evaluate"] == ["pipeline.explain"]
    assert changed["edges"]["pipeline.explain"] == ["dvc_push"]
    assert (changed["schedule"], changed["max_active_runs"]) == ("0 6 * * *", 7)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("stages: [", "dvc.yaml"),
        ("stages: {a: {cmd: x, outs: ['${no.such}']}}", "no.such"),
        (None, "no dvc.yaml there"),
    ],
)
def test_a_dvc_yaml_that_is_wrong_is_an_import_error_with_the_reason(deployment, text, said):
    file = deployment.project / "dvc.yaml"
    good = file.read_text()
    try:
        file.write_text(text) if text else file.unlink()
        errors = deployment.import_errors()
    finally:
        file.write_text(good)

    (message,) = errors.values()
    assert "DvcProjectError" in message
    assert said in message
