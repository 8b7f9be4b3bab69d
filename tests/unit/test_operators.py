"""What needs no running Airflow of the operators that read the configuration."""

import pytest

from dvc_airflow.errors import ResultError
from include.lineage.code_state import Code
from ml_operators import base
from ml_operators.results import ResolvedRun
from ml_operators.setup_bucket import SetupBucketOperator


def test_the_configuration_is_checked_once_per_execution(config_document, monkeypatch):
    checked = []
    resolved = ResolvedRun(
        config=config_document, files={}, remote_url="s3://b/p", code=Code(git_sha=None, dirty=None), force=False
    ).to_xcom()
    monkeypatch.setattr(base, "validate_config", lambda document, where: checked.append(where) or object())
    task = SetupBucketOperator(task_id="setup_bucket", resolved=resolved)
    first, second = task.prepare_for_execution(), task.prepare_for_execution()

    assert first.pipeline_config is first.pipeline_config
    assert second.pipeline_config is not first.pipeline_config
    assert len(checked) == 2


def test_a_task_that_got_no_configuration_says_whose_fault_it_is():
    with pytest.raises(ResultError, match=r"task resolve_config returned no result\. Clear it"):
        SetupBucketOperator(task_id="setup_bucket", resolved=None).prepare_for_execution().pipeline_config  # noqa: B018
