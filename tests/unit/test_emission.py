"""Asset events where Airflow does not answer."""

from types import SimpleNamespace

import pytest
from airflow.sdk.api.datamodels._generated import AssetEventsResponse
from airflow.sdk.exceptions import ErrorType
from airflow.sdk.execution_time import task_runner
from airflow.sdk.execution_time.comms import AssetEventsResult, ErrorResponse
from airflow.sdk.execution_time.context import OutletEventAccessors

from dvc_airflow.assets import Emission, output_asset
from dvc_airflow.project import Artifact
from dvc_airflow.result import Outcome, StageResult

ASSET = output_asset("dag", "a.txt")


@pytest.fixture
def silent_airflow(monkeypatch):
    answer = SimpleNamespace(send=lambda _: ErrorResponse(error=ErrorType.API_SERVER_ERROR))
    monkeypatch.setattr(task_runner, "SUPERVISOR_COMMS", answer, raising=False)


def emission(map_index: int = -1, **out: str) -> Emission:
    lock = {"dvc.lock": {"a": {"cmd": "true", "outs": [{"path": "a.txt", **out}]}}}
    result = StageResult(
        stage="a",
        outcome=Outcome.EXECUTED,
        reason="",
        started_at="",
        seconds=0,
        executed_in="run",
        lock=lock,
        published={},
    )
    run = SimpleNamespace(logical_date=None, partition_key=None)
    ti = SimpleNamespace(dag_id="dag", run_id="run", map_index=map_index)
    return Emission({"dag_run": run, "ti": ti, "outlet_events": OutletEventAccessors()}, [result], None)


@pytest.mark.usefixtures("silent_airflow")
def test_if_the_last_event_is_not_known_there_is_a_new_one_and_the_push_goes_on(caplog):
    assert emission(md5="1").of({ASSET: Artifact("a.txt", "a.txt", "a", "a.txt")}) == [ASSET]
    assert "The last event of the Asset dag/a.txt is not known" in caplog.text


def test_an_output_without_an_md5_has_no_event():
    assert emission(etag="1").of({ASSET: Artifact("a.txt", "a.txt", "a", "a.txt")}) == []


def test_an_output_of_a_stage_that_did_not_run_here_has_no_event():
    assert emission(md5="1").of({ASSET: Artifact("a.txt", "a.txt", "another", "a.txt")}) == []


@pytest.mark.parametrize(("map_index", "is_new"), [(0, False), (1, True), (2, True), (-1, True)])
def test_the_instances_of_a_mapped_push_have_a_last_event_each(monkeypatch, map_index, is_new):
    asset = {"name": ASSET.name, "uri": ASSET.uri, "group": "asset"}
    events = [
        {"id": index, "timestamp": "2026-11-27T00:00:00Z", "extra": {"md5": str(1 + index)}, "asset": asset,
         "created_dagruns": [], "source_map_index": index}
        for index in (1, 0)
    ]  # fmt: skip
    answer = AssetEventsResult.from_asset_events_response(AssetEventsResponse(asset_events=events))
    monkeypatch.setattr(task_runner, "SUPERVISOR_COMMS", SimpleNamespace(send=lambda _: answer), raising=False)

    found = emission(map_index, md5="1").of({ASSET: Artifact("a.txt", "a.txt", "a", "a.txt")})

    assert found == ([ASSET] if is_new else [])
