"""What stands in a line of ``runs`` about a run that failed, and what is said if Airflow's database breaks off."""

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from unittest.mock import MagicMock

import psycopg2
import pytest

from include.cli import run_list
from include.cli.past_runs import _cells, _of_newest
from include.errors import ServiceError
from include.lineage.failed_runs import ADDRESS, FailedRun, failed_runs
from include.lineage.lineage_store import Entry
from include.lineage.run_keys import RunKey
from include.settings.config_file import load_config

RUN = {"run": "r", "started_at": "2026-11-27T08:00:00", "config": {}, "champion": False}
RECORDED = {**RUN, "mlflow_run": "0" * 32, "outcome": "restored", "model": "m", "version": "2"}
UNRECORDED = {**RUN, "mlflow_run": None, "model": None, "version": None, "gate": None}


@pytest.mark.parametrize(
    ("row", "model_was", "gate"),
    [
        ({**UNRECORDED, "outcome": "failed", "failed_tasks": ["a", "b"]}, "failed: a, b", None),
        ({**UNRECORDED, "outcome": "failed", "failed_tasks": []}, "failed", None),
        ({**UNRECORDED, "outcome": "it was cut off", "failed_tasks": None}, "it was cut off", None),
        ({**UNRECORDED, "outcome": "it was cut off", "failed_tasks": ["b"]}, "it was cut off", "failed: b"),
        ({**RECORDED, "gate": None, "failed_tasks": ["promote_model"]}, "restored", "failed: promote_model"),
        ({**RECORDED, "gate": "passed", "failed_tasks": ["x"]}, "restored", "passed"),
        ({**RECORDED, "gate": None, "failed_tasks": None}, "restored", None),
    ],
)
def test_a_failure_stands_where_its_result_would(row, model_was, gate):
    cells = _cells(row)

    assert (cells["model was"], cells["gate"]) == (model_was, gate)


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (
            {"failed_tasks": ["promote_model"], "why_not_champion": None},
            "The newest run failed in promote_model. Why is ",
        ),
        ({"failed_tasks": ["x"], "why_not_champion": "it is worse"}, "The newest run failed in x. Why is "),
        ({"failed_tasks": None, "why_not_champion": "it is worse"}, "version 2 is not champion: it is worse."),
    ],
)
def test_below_the_list_it_is_said_why_the_newest_run_has_no_champion(row, said):
    assert said in (_of_newest({**RECORDED, **row}) or "")


@pytest.mark.parametrize(
    "row",
    [
        {"failed_tasks": None, "why_not_champion": None},
        {"failed_tasks": [], "why_not_champion": None},
        {"failed_tasks": None, "why_not_champion": "it was worse", "champion": True},
    ],
)
def test_of_a_run_that_needs_no_reason_nothing_is_said(row):
    assert _of_newest({**RECORDED, **row}) is None


def test_a_failed_run_whose_manifest_is_damaged_says_so_and_one_without_a_manifest_has_failed(monkeypatch):
    damaged, early = RunKey("ml_pipeline", "damaged"), RunKey("ml_pipeline", "early")
    times = {damaged: datetime(2026, 11, 27, 9, tzinfo=UTC), early: datetime(2026, 11, 27, 8, tzinfo=UTC)}
    monkeypatch.setattr(run_list, "failed_runs", lambda _: [FailedRun(run, times[run], ("a",)) for run in times])
    monkeypatch.setattr(run_list, "champion_version", lambda *_: None)
    lineage = SimpleNamespace(
        all_collected=lambda _: set(),
        started=lambda _: {damaged: times[damaged]},
        read_all=lambda runs: [Entry(run, None, problem=f"{run}: cannot be read") for run in runs],
    )

    listed = run_list.list_runs(SimpleNamespace(lineage=lineage, config=load_config(), runtime=None), 20, 1)

    assert [row["outcome"] for row in listed.rows] == ["damaged: cannot be read", "failed"]
    assert [row["failed_tasks"] for row in listed.rows] == [["a"], ["a"]]
    assert [row["started_at"] for row in listed.rows] == ["2026-11-27T09:00:00", "2026-11-27T08:00:00"]


def test_failed_runs_that_gc_removed_are_left_out_and_older_ones_fill_the_page(monkeypatch):
    day = datetime(2026, 11, 27, tzinfo=UTC)
    failed = [FailedRun(RunKey("ml_pipeline", f"r{n}"), day - timedelta(days=n), ("promote_model",)) for n in range(4)]
    monkeypatch.setattr(run_list, "failed_runs", lambda limit: failed[:limit])
    monkeypatch.setattr(run_list, "champion_version", lambda *_: None)
    lineage = SimpleNamespace(
        all_collected=lambda dag_id: {RunKey(dag_id, "r0"), RunKey(dag_id, "r2")},
        started=lambda _: {},
        read_all=lambda runs: [Entry(run, None) for run in runs],
    )
    session = SimpleNamespace(lineage=lineage, config=load_config(), runtime=None)

    assert [row["run"] for row in run_list.list_runs(session, 2, 1).rows] == ["r1", "r3"]
    assert [row["run"] for row in run_list.list_runs(session, 1, 2).rows] == ["r3"]


def test_a_database_that_stops_during_the_query_is_no_wrong_address(monkeypatch):
    connection = MagicMock()
    cursor = connection.cursor.return_value.__enter__.return_value
    cursor.execute.side_effect = psycopg2.OperationalError(
        "server closed the connection unexpectedly\n\tIt probably ..."
    )
    monkeypatch.setenv(ADDRESS, "postgresql+psycopg2://airflow@127.0.0.1/airflow")
    monkeypatch.setattr(psycopg2, "connect", lambda *_, **__: connection)

    with pytest.raises(ServiceError, match=r"closed the connection: server closed .* unexpectedly\. Try again"):
        failed_runs(20)
    connection.close.assert_called_once_with()
