"""What stands in a line of ``runs`` about a run that failed."""

import pytest

from include.cli.past_runs import _cells

RUN = {"run": "r", "started_at": "2026-11-27T08:00:00", "config": {}, "champion": False}
RECORDED = {**RUN, "mlflow_run": "0" * 32, "outcome": "restored", "model": "m", "version": "2"}
UNRECORDED = {**RUN, "mlflow_run": None, "model": None, "version": None, "gate": None}


@pytest.mark.parametrize(
    ("row", "model_was", "gate"),
    [
        ({**UNRECORDED, "outcome": "failed", "failed_tasks": ["a", "b"]}, "failed: a, b", None),
        ({**UNRECORDED, "outcome": "failed", "failed_tasks": []}, "failed", None),
        ({**UNRECORDED, "outcome": "it was cut off", "failed_tasks": None}, "it was cut off", None),
        ({**RECORDED, "gate": None, "failed_tasks": ["promote_model"]}, "restored", "failed: promote_model"),
        ({**RECORDED, "gate": "passed", "failed_tasks": ["x"]}, "restored", "passed"),
        ({**RECORDED, "gate": None, "failed_tasks": None}, "restored", None),
    ],
)
def test_a_failure_stands_where_its_result_would(row, model_was, gate):
    cells = _cells(row)

    assert (cells["model was"], cells["gate"]) == (model_was, gate)
