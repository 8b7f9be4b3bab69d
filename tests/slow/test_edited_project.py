"""What an edit of the project does to the next run: of its schedule, its code, its gate."""

import pytest

from tests.support.dag_runs import outcomes, reason


@pytest.fixture(scope="module")
def deployment(make_deployment):
    deployment = make_deployment("edited")
    (run,) = deployment.dag({})
    assert run["state"] == "success"
    return deployment


def test_another_schedule_runs_no_stage(deployment):
    changes = {"max_active_runs: 4": "max_active_runs: 2", "cron: null": 'cron: "0 6 * * *"'}
    for old, new in changes.items():
        deployment.edit_config(old, new)
    try:
        (run,) = deployment.dag({})
    finally:
        for old, new in changes.items():
            deployment.edit_config(new, old)

    assert "executed" not in outcomes(run).values()
    assert run["state"] == "success"


def test_changed_code_runs_its_stage_again(deployment):
    deployment.dag({})  # reasons compare with the run before
    file = deployment.project / "include" / "stages" / "preprocess.py"
    text = file.read_text()
    file.write_text(text + "# changed\n")
    try:
        (run,) = deployment.dag({})
    finally:
        file.write_text(text)

    assert outcomes(run) == {"get_data": "unchanged", "preprocess": "executed", "train_and_evaluate": "unchanged"}
    assert reason(run, "preprocess") == "include/stages/preprocess.py changed"


def test_without_a_web_ui_nobody_is_asked_for_approval_and_the_champion_stays(deployment):
    before = deployment.mlflow.get_registered_model(deployment.model).aliases["champion"]
    deployment.edit_config("approval: auto", "approval: manual")
    try:
        (run,) = deployment.dag({"conf": {"model.C": 30.0}})
    finally:
        deployment.edit_config("approval: manual", "approval: auto")

    assert run["state"] == "success"
    assert run["returned"]["evaluate_model"]["passed"] is True
    assert (run["tasks"]["approve_promotion"], run["tasks"]["promote_model"]) == ("skipped", "skipped")
    aliases = deployment.mlflow.get_registered_model(deployment.model).aliases
    assert aliases == {"champion": before, "challenger": run["returned"]["evaluate_model"]["version"]}
