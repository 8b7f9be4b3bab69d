"""Which date ``{date}`` in ``data.source`` means: ``schedule.date``."""

from datetime import datetime
from typing import Any

from airflow.sdk import CronDataIntervalTimetable

from include.settings import ScheduleConfig
from include.settings.dates import manual_date

TIMEZONE = "UTC"  # of the cron expression


def timetable(schedule: ScheduleConfig) -> CronDataIntervalTimetable | str | None:
    """What to give Airflow as the DAG's ``schedule``.

    Airflow runs a cron string at a point in time, with an interval of no length. With intervals, the logical date of a
    scheduled run or a backfill is the start of its interval, so that a backfill names the dates whose data it takes.
    """
    if schedule.cron is None or schedule.date == "logical_date":
        return schedule.cron
    return CronDataIntervalTimetable(schedule.cron, timezone=TIMEZONE)


def run_date(schedule: ScheduleConfig, run: Any) -> datetime:
    """The date that a run fills in.

    :param run: the DagRun of the task's context.
    """
    moment: datetime = run.logical_date or run.run_after  # a manual run may have no logical date
    if schedule.cron is None or schedule.date == "logical_date":
        return moment
    if run.run_type in ("scheduled", "backfill"):
        start: datetime = run.data_interval_start
        return start
    # Not the run's own interval: with `airflow dags trigger --logical-date` Airflow derives it from the present time.
    return manual_date(schedule, moment)
