"""Which MLflow runs belong to no result: only what is certain is marked."""

from types import SimpleNamespace
from typing import Any

import pytest

from dvc_airflow.result import Outcome, StageResult
from ml_operators.mlflow_runs import mark_runs_without_result

PATH = "reports/mlflow_run.json"


class Client:
    """MLflow with one run of the try 1 of the task `train` in the run `r`."""

    def __init__(self, status: str) -> None:
        tags = {"airflow.dag_id": "d", "airflow.run_id": "r", "airflow.task_id": "train", "airflow.try_number": "1"}
        info = SimpleNamespace(run_id="one", status=status, end_time=7)
        self.run, self.calls = SimpleNamespace(info=info, data=SimpleNamespace(tags=tags)), []

    def search_runs(self, experiment_ids: list[str], condition: str, page_token: str | None) -> Any:
        assert "tags.lock_sha256 IS NULL" in condition
        return Page([self.run])

    def set_tag(self, *arguments: Any) -> None:
        self.calls.append(("tag", *arguments[::2]))

    def set_terminated(self, run_id: str, status: str, end_time: int) -> None:
        self.calls.append((status, run_id, end_time))


class Page(list):
    token = None


def result(mlflow_run: str, published: str = PATH) -> dict[str, Any]:
    return StageResult(
        stage="train", outcome=Outcome.EXECUTED, reason="", started_at="", seconds=1, executed_in="r",
        lock={"dvc.lock": {"train": {}}}, published={published: f'{{"run_id": "{mlflow_run}"}}'},
    ).to_xcom()  # fmt: skip


def marked(state: str | None, xcom: Any = None, *, known: bool = False, status: str = "FINISHED") -> list[Any]:
    client = Client(status)
    ti = SimpleNamespace(
        dag_id="d",
        get_task_states=lambda **_: {"r": {"train": state}} if state else {},
        xcom_pull=lambda **_: xcom,
    )
    results = SimpleNamespace(path=PATH, has=lambda run_id: known)
    found = mark_runs_without_result(client, "1", {"ti": ti}, results)
    assert found == (["one"] if client.calls else [])
    return client.calls


@pytest.mark.parametrize("state", [None, "running", "queued", "scheduled", "restarting", "deferred"])
def test_a_run_whose_task_may_go_on_or_is_not_known_is_left_alone(state):
    assert marked(state) == []


@pytest.mark.parametrize("state", ["success", "skipped"])
@pytest.mark.parametrize("xcom", [result("one"), None, {"edited": 1}, result("two", "another.json")])
def test_a_run_that_the_result_of_its_task_names_or_may_name_is_left_alone(state, xcom):
    assert marked(state, xcom) == []


@pytest.mark.parametrize("state", ["success", "skipped", "failed", "up_for_retry", "upstream_failed", "removed"])
def test_a_run_whose_task_came_to_nothing_or_to_another_one_is_marked_unless_a_result_is_known(state):
    assert marked(state, result("two")) == [("tag", "one", TEXT[state]), ("KILLED", "one", 7)]
    assert marked(state, result("two"), known=True) == []


TEXT = dict.fromkeys(["failed", "up_for_retry", "upstream_failed", "removed"], "task train failed") | dict.fromkeys(
    ["success", "skipped"], "task train made MLflow run two in another try"
)


@pytest.mark.parametrize("status", ["FAILED", "KILLED"])
def test_a_run_that_says_so_already_keeps_its_status(status):
    assert marked("failed", status=status) == [("tag", "one", "task train failed")]
