"""How a scheduled run waits for its source: the task, and its trigger."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk._shared.module_loading import import_string
from airflow.sdk.bases.operator import TRIGGER_FAIL_REPR
from airflow.sdk.exceptions import TaskDeferred
from airflow.triggers.base import TriggerEvent
from airflow.utils.types import DagRunType

from include.errors import AccessError, DataError, ServiceError
from include.settings.config_file import validate_config
from ml_operators import wait_for_source
from ml_operators.wait_for_source import SourceTrigger, WaitForSourceOperator

WAITED = r"The run waited 10 minutes for it \(schedule\.wait_minutes\)\. When the data are there, clear the task wait_"


@pytest.fixture
def source(tmp_path: Path, config_document: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file that the runs wait for, ten minutes long."""
    config_document["schedule"]["wait_minutes"] = 10
    config_document["data"]["source"] = str(tmp_path / "data.csv")
    config = validate_config(config_document)
    monkeypatch.setattr(wait_for_source, "config_of", lambda run: (config, False))
    return tmp_path / "data.csv"


@pytest.fixture
def task() -> WaitForSourceOperator:
    return WaitForSourceOperator(task_id="wait_for_source")


def context(started: timedelta = timedelta(), run_type: DagRunType = DagRunType.SCHEDULED) -> Any:
    return {"dag_run": SimpleNamespace(run_type=run_type, start_date=datetime.now(UTC) - started)}


def until(seconds: float) -> str:
    return (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat()


def event_of(trigger: SourceTrigger, meanwhile: Callable[[], Any] = lambda: None) -> TriggerEvent:
    async def run() -> TriggerEvent:
        asyncio.get_running_loop().call_later(0.3, meanwhile)
        return await asyncio.wait_for(anext(trigger.run()), 20)

    return asyncio.run(run())


def test_a_scheduled_run_with_data_does_not_wait(source, task):
    source.write_text("a,b\n1,2\n")

    assert task.execute(context()) is None


def test_a_scheduled_run_without_data_waits_until_ten_minutes_after_its_start(source, task):
    started = context(timedelta(minutes=3))
    with pytest.raises(TaskDeferred) as deferred:
        task.execute(started)

    end = started["dag_run"].start_date + timedelta(minutes=10)
    path, arguments = deferred.value.trigger.serialize()
    assert arguments == {"source": str(source), "until": end.isoformat()}
    assert type(import_string(path)(**arguments)) is SourceTrigger
    assert timedelta(minutes=7) < deferred.value.timeout < timedelta(minutes=10)


@pytest.mark.parametrize("run_type", [DagRunType.MANUAL, DagRunType.BACKFILL_JOB])
def test_a_run_by_hand_and_a_backfill_do_not_wait(source, task, run_type):
    assert task.execute(context(run_type=run_type)) is None


def test_a_retry_after_the_time_is_up_does_not_wait_anew(source, task):
    with pytest.raises(DataError, match=WAITED):
        task.execute(context(timedelta(minutes=11)))


def test_after_the_wait_the_task_says_what_is_missing_and_how_long_it_waited(source, task):
    with pytest.raises(DataError, match=rf"^data\.source: no file at {source}\. Put it there.*{WAITED}"):
        task.execute_complete(context(), None)
    source.write_text("a,b\n1,2\n")
    assert task.execute_complete(context(), None) is None


def test_a_triggerer_that_may_not_ask_is_named(source, task):
    with pytest.raises(AccessError, match="triggerer waits for the data, and cannot ask for them: no key"):
        task.execute_complete(context(), "no key")


def test_a_triggerer_that_does_not_run_is_named(source, task):
    with pytest.raises(DataError, match=rf"^No triggerer looked for {source}\. Check that `airflow triggerer` is run"):
        task.resume_execution(TRIGGER_FAIL_REPR, {"error": "Trigger timeout"}, context())


def test_the_trigger_ends_soon_after_the_data_are_there(source):
    trigger = SourceTrigger(source=str(source), until=until(60))

    assert event_of(trigger, lambda: source.write_text("a,b\n1,2\n")) == TriggerEvent(None)


def test_the_trigger_ends_when_the_time_is_up(source):
    assert event_of(SourceTrigger(source=str(source), until=until(0.2))) == TriggerEvent(None)


def test_the_trigger_asks_again_while_the_store_is_down_but_not_if_it_is_refused(source, monkeypatch):
    answers = [ServiceError("down"), AccessError("refused")]

    def ask(*_: Any) -> None:
        raise answers.pop(0)

    monkeypatch.setattr(wait_for_source, "current_version", ask)
    assert event_of(SourceTrigger(source=str(source), until=until(60))) == TriggerEvent("refused")
    assert answers == []
