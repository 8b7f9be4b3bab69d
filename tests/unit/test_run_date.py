"""Which date a run fills in, with Airflow's own timetables: scheduled runs, backfills and runs by hand."""

import re
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk import DAG
from airflow.serialization.serialized_objects import DagSerialization
from airflow.timetables.base import TimeRestriction
from airflow.timetables.interval import CronDataIntervalTimetable
from airflow.utils.types import DagRunType
from pendulum import instance

from include.errors import ConfigError
from include.settings import ScheduleConfig
from include.settings.dates import backfill_dates, last_interval_start, parse_date
from ml_operators.plan import Request
from ml_operators.run_date import run_date, timetable

START = datetime(2026, 3, 1, tzinfo=UTC)  # a Sunday
LATER = datetime(2026, 3, 20, tzinfo=UTC)
NOW = datetime(2026, 3, 25, 12, tzinfo=UTC)
DAILY, WEEKLY, HOURLY, QUARTERLY = "0 6 * * *", "0 6 * * 1", "0 * * * *", "@quarterly"


def schedule(cron: str | None, date: str) -> ScheduleConfig:
    return ScheduleConfig(cron=cron, date=date, start_date="2026-03-01")


def as_the_scheduler_has_it(settings: ScheduleConfig) -> Any:
    dag = DAG("ml_pipeline", schedule=timetable(settings), start_date=instance(START), catchup=True)
    return DagSerialization.deserialize_dag(DagSerialization.serialize_dag(dag))


def run_of(info: Any, run_type: DagRunType) -> Any:
    """The DagRun that the scheduler or a backfill makes of a timetable's answer."""
    return SimpleNamespace(
        run_type=run_type,
        logical_date=info.logical_date,
        run_after=info.run_after,
        data_interval_start=info.data_interval.start,
    )


def by_hand(logical_date: datetime | None, run_after: datetime) -> Any:
    # `airflow dags trigger` gives each run the interval of the present time, whatever its logical date is.
    interval = logical_date and datetime.now(UTC)
    return SimpleNamespace(
        run_type=DagRunType.MANUAL, logical_date=logical_date, run_after=run_after, data_interval_start=interval
    )


@pytest.mark.parametrize(
    ("cron", "date", "due", "filled"),
    [
        (DAILY, "logical_date", "2026-03-01T06", "2026-03-01T06"),
        (DAILY, "data_interval_start", "2026-03-02T06", "2026-03-01T06"),
        (WEEKLY, "logical_date", "2026-03-02T06", "2026-03-02T06"),
        (WEEKLY, "data_interval_start", "2026-03-09T06", "2026-03-02T06"),
        (HOURLY, "logical_date", "2026-03-01T00", "2026-03-01T00"),
        (HOURLY, "data_interval_start", "2026-03-01T01", "2026-03-01T00"),
        (QUARTERLY, "data_interval_start", "2026-07-01T00", "2026-04-01T00"),
    ],
)
def test_the_first_scheduled_run_is_due_at_a_time_and_takes_a_date(cron, date, due, filled):
    settings = schedule(cron, date)
    info = as_the_scheduler_has_it(settings).timetable.next_dagrun_info(
        last_automated_data_interval=None, restriction=TimeRestriction(instance(START), None, catchup=True)
    )

    assert info.run_after.strftime("%Y-%m-%dT%H") == due
    assert run_date(settings, run_of(info, DagRunType.SCHEDULED)).strftime("%Y-%m-%dT%H") == filled


@pytest.mark.parametrize("date", ["logical_date", "data_interval_start"])
def test_a_backfill_takes_the_dates_that_it_names(date):
    settings = schedule("@daily", date)
    found = as_the_scheduler_has_it(settings).iter_dagrun_infos_between(instance(START), instance(LATER))
    dates = [run_date(settings, run_of(info, DagRunType.BACKFILL_JOB)) for info in found]

    assert dates == [START + timedelta(days=day) for day in range(20)]


def test_a_new_schedule_takes_the_last_date_that_is_complete():
    settings = schedule("@daily", "data_interval_start")
    before = datetime.now(UTC)
    info = as_the_scheduler_has_it(settings).timetable.next_dagrun_info(
        last_automated_data_interval=None, restriction=TimeRestriction(instance(START), None, catchup=False)
    )

    yesterdays = {(now - timedelta(days=1)).date() for now in (before, datetime.now(UTC))}  # midnight may pass
    assert run_date(settings, run_of(info, DagRunType.SCHEDULED)).date() in yesterdays


@pytest.mark.parametrize(
    ("before", "after", "next_date"),
    [
        ("logical_date", "data_interval_start", "2026-03-02"),
        ("data_interval_start", "logical_date", "2026-03-03"),  # that of the 2nd is left out
    ],
)
def test_no_date_comes_twice_when_the_meaning_of_the_date_changes(before, after, next_date):
    restriction = TimeRestriction(instance(START), None, catchup=True)
    first = as_the_scheduler_has_it(schedule(DAILY, before)).timetable.next_dagrun_info(
        last_automated_data_interval=None, restriction=restriction
    )
    info = as_the_scheduler_has_it(schedule(DAILY, after)).timetable.next_dagrun_info(
        last_automated_data_interval=first.data_interval, restriction=restriction
    )

    assert str(run_date(schedule(DAILY, before), run_of(first, DagRunType.SCHEDULED)).date()) == "2026-03-01"
    assert str(run_date(schedule(DAILY, after), run_of(info, DagRunType.SCHEDULED)).date()) == next_date


@pytest.mark.parametrize(
    ("cron", "date", "filled"),
    [
        (DAILY, "logical_date", "2026-03-20T00"),
        (None, "logical_date", "2026-03-20T00"),
        (DAILY, "data_interval_start", "2026-03-18T06"),  # that of the 19th is over at six on the 20th
        (WEEKLY, "data_interval_start", "2026-03-09T06"),
        (HOURLY, "data_interval_start", "2026-03-19T23"),
        (QUARTERLY, "data_interval_start", "2025-10-01T00"),
    ],
)
@pytest.mark.parametrize("logical_date", [LATER, None])
def test_a_run_by_hand_takes_what_was_complete_at_its_date(cron, date, filled, logical_date):
    run = by_hand(logical_date, LATER if logical_date is None else datetime.now(UTC))

    assert run_date(schedule(cron, date), run).strftime("%Y-%m-%dT%H") == filled


@pytest.mark.parametrize("cron", [DAILY, WEEKLY, HOURLY, QUARTERLY, "*/15 8-17 * * 1-5", "30 2 29 2 *"])
def test_the_last_complete_interval_is_that_of_airflow(cron):
    theirs = CronDataIntervalTimetable(cron, "UTC")
    for minutes in range(0, 60 * 24 * 30, 317):
        for more in (timedelta(), timedelta(microseconds=1)):
            moment = START + timedelta(minutes=minutes) + more
            expected = theirs.infer_manual_data_interval(run_after=instance(moment)).start
            assert last_interval_start(cron, moment) == expected
    for moment in (START.replace(hour=6), START):  # on the boundary of an interval
        assert last_interval_start(cron, moment) == theirs.infer_manual_data_interval(run_after=instance(moment)).start


@pytest.mark.parametrize("date", ["logical_date", "data_interval_start"])
@pytest.mark.parametrize("cron", [DAILY, WEEKLY, HOURLY, QUARTERLY, "@daily", "*/15 8-17 * * 1-5", "30 2 1 * *"])
def test_the_dates_of_a_planned_backfill_are_those_that_airflow_chooses(cron, date):
    settings = schedule(cron, date)
    dag = as_the_scheduler_has_it(settings)
    for first, last in ((START, LATER), (START.replace(hour=6), LATER.replace(hour=6)), (START, START), (START, NOW)):
        infos = dag.iter_dagrun_infos_between(instance(first), instance(last))
        theirs = [info.logical_date for info in infos if info.data_interval.end < NOW]
        try:
            ours = backfill_dates(settings, first, last, NOW)
        except ConfigError as error:
            assert "has no date from" in str(error)  # noqa: PT017 - Airflow says it by no dates
            ours = []
        assert ours == theirs


@pytest.mark.parametrize("cron", [None, "@once", "@continuous"])
def test_a_backfill_without_dates_is_not_planned(cron):
    with pytest.raises(ConfigError, match="no dates for a backfill"):
        backfill_dates(schedule(cron, "logical_date"), START, LATER, NOW)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"date": "March"}, "--date: 'March' is not a date. Write it like 2026-03-01."),
        ({"date": ""}, "--date: '' is not a date."),
        ({"from_date": "", "to_date": ""}, "--from-date: '' is not a date."),
        ({"date": "2026-03-01", "to_date": "2026-03-01"}, "give one or the other"),
        ({"date": "2026-03-01", "to_date": ""}, "give one or the other"),
        ({"from_date": "2026-03-01"}, "a backfill has both"),
    ],
)
def test_dates_that_cannot_be_planned_are_refused(asked: dict[str, str], message: str):
    with pytest.raises(ConfigError, match=re.escape(message)):
        Request(**asked).dates()


def test_a_date_that_is_none_in_utc_is_refused():
    with pytest.raises(ConfigError, match="--date: '0001-01-01T00:00\\+05:00' is not a date"):
        parse_date("0001-01-01T00:00+05:00", "--date")
    assert parse_date("2026-03-01T02:00+05:00", "--date") == datetime(2026, 2, 28, 21, tzinfo=UTC)


def test_a_schedule_whose_date_never_comes_is_refused():
    with pytest.raises(ValueError, match="names a date that never comes"):
        schedule("0 0 31 2 *", "logical_date")
    assert schedule("0 0 29 2 *", "logical_date").cron == "0 0 29 2 *"
