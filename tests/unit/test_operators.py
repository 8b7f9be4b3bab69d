"""What needs no running Airflow of the operators: messages, environment, outcome."""

import pytest
from airflow.sdk.exceptions import AirflowException, AirflowFailException

from dvc_airflow.environment import base_environment
from dvc_airflow.operators.base import failure
from include.errors import ConfigError
from ml_operators import base
from ml_operators.setup_bucket import SetupBucketOperator


def test_a_failure_ends_with_the_last_lines_of_the_output():
    output = "\n".join(f"line {number}" for number in range(100))

    error = failure("dvc repro", 255, output)

    assert str(error).startswith("dvc repro failed with exit code 255.")
    assert str(error).endswith("line 98\nline 99")
    assert "line 50" not in str(error)


@pytest.mark.parametrize(
    ("output", "kind"),
    [
        ("ERROR: failed to run: python -m x, exited with 65", AirflowFailException),
        ("ERROR: failed to run: python -m x, exited with 77", AirflowFailException),
        ("ERROR: failed to run: python -m x, exited with 78", AirflowFailException),
        ("ERROR: failed to run: python -m x, exited with 69", AirflowException),
        ("ERROR: failed to run: python -m x, exited with -9", AirflowException),
        ("", AirflowException),
    ],
)
def test_only_what_may_pass_is_retried(output, kind):
    assert type(failure("dvc repro", 255, output)) is kind


def test_a_stage_gets_no_airflow_setting_and_no_secret(monkeypatch):
    for name in ("AIRFLOW__API_AUTH__JWT_SECRET", "AWS_SECRET_ACCESS_KEY", "MLFLOW_TRACKING_PASSWORD", "MY_TOKEN"):
        monkeypatch.setenv(name, "hunter2")

    assert "hunter2" not in str(base_environment())


def test_the_configuration_is_checked_once_per_execution(config_document, monkeypatch):
    checked = []
    monkeypatch.setattr(base, "validate_config", lambda document, where: checked.append(where) or object())
    task = SetupBucketOperator(task_id="setup_bucket", config=config_document)
    first, second = task.prepare_for_execution(), task.prepare_for_execution()

    assert first.pipeline_config is first.pipeline_config
    assert second.pipeline_config is not first.pipeline_config
    assert len(checked) == 2


def test_a_task_that_got_no_configuration_says_whose_fault_it_is():
    with pytest.raises(ConfigError, match="task setup_bucket got no config"):
        SetupBucketOperator(task_id="setup_bucket", config=None).prepare_for_execution().pipeline_config  # noqa: B018
