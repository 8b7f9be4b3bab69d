"""What tasks hand on to each other: an XCom that is not what the task returned is refused, with the task to clear."""

import json
import math

import pytest

from dvc_airflow.errors import ResultError
from dvc_airflow.result import Outcome, StageResult

ENTRY = {"cmd": "x", "outs": [{"path": "o", "md5": "1"}]}


@pytest.fixture
def result() -> StageResult:
    return StageResult(
        stage="train",
        outcome=Outcome.RESTORED,
        reason="C 1 -> 2",
        started_at="2026-01-01T00:00:00+00:00",
        seconds=0.5,
        executed_in=None,
        lock={"dvc.lock": {"train": ENTRY}},
        published={"metrics.json": "{}"},
    )


def with_params(result: StageResult, params: dict) -> StageResult:
    return result.model_copy(update={"lock": {"dvc.lock": {"train": {"params": {"params.yaml": params}}}}})


def test_a_result_comes_back_as_it_was(result):
    xcom = result.to_xcom()

    assert StageResult.from_xcom(xcom, "pipeline.train") == result
    assert (xcom["outcome"], type(xcom["outcome"])) == ("restored", str)
    assert (result.lock_file, result.entry) == ("dvc.lock", ENTRY)


@pytest.mark.parametrize(("before", "after"), [(1e16, 10000000000000000), (-0.0, 0.0), (2.0, 2.0), (0.1, 0.1)])
def test_a_number_may_come_back_as_postgresql_writes_it(result, before, after):
    xcom = result.model_copy(update={"lock": {"dvc.lock": {"train": {"params": [before]}}}}).to_xcom()
    xcom["lock"]["dvc.lock"]["train"]["params"] = [after]

    assert StageResult.from_xcom(xcom, "pipeline.train").entry == {"params": [after]}


@pytest.mark.parametrize("value", [None, "text", 3, []])
def test_a_task_that_returned_nothing_is_to_be_cleared(value):
    with pytest.raises(ResultError, match=r"task pipeline\.train returned no result\. Clear it, so that it runs again"):
        StageResult.from_xcom(value, "pipeline.train")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"reason": "another"}, "was truncated or changed"),
        ({"lock": {"dvc.lock": {"train": {**ENTRY, "outs": []}}}}, "was truncated or changed"),
        ({"checksum": "0" * 64}, "was truncated or changed"),
        ({"seal": "0" * 64}, r"was written by another version of the code \(fields that differ: seal\)"),
    ],
)
def test_a_result_that_is_not_what_the_task_returned_is_refused(result, changes, said):
    with pytest.raises(ResultError, match=rf"the result of task pipeline\.train \(its XCom\) {said}.* Clear that task"):
        StageResult.from_xcom({**result.to_xcom(), **changes}, "pipeline.train")


def test_a_result_of_the_version_before_is_refused_with_the_task_to_clear(result):
    """A run that was half done when the new code arrived."""
    fields = {name: value for name, value in result.to_xcom().items() if name != "checksum"}

    with pytest.raises(ResultError, match=r"pipeline\.train .* another version .*: checksum, seal\)\. Clear that task"):
        StageResult.from_xcom({**fields, "seal": "0" * 64}, "pipeline.train")


def test_params_that_json_has_no_form_for_arrive_as_they_are(result):
    weights = {0: 1.0, True: 2.0, None: "x", 1.5: {"$pairs": [], "ok": 1}}
    params = {"weights": weights, "limits": [float("inf"), -float("inf")], "$number": "nan"}
    result = with_params(result, params)

    sent = json.loads(json.dumps(result.to_xcom(), allow_nan=False))

    assert StageResult.from_xcom(sent, "train") == result


def test_not_a_number_arrives(result):
    sent = json.dumps(with_params(result, {"limit": math.nan}).to_xcom(), allow_nan=False)

    assert math.isnan(StageResult.from_xcom(json.loads(sent), "train").entry["params"]["params.yaml"]["limit"])
