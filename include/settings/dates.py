"""The dates of a schedule, as Airflow chooses them: of backfills, and of the last interval that is over. In UTC."""

from collections.abc import Iterator
from datetime import UTC, datetime

from include.errors import ConfigError
from include.settings.pipeline import PRESETS_WITHOUT_INTERVAL, ScheduleConfig

PRESETS = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@quarterly": "0 0 1 */3 *",
    "@yearly": "0 0 1 1 *",
}
HAS_INTERVALS = "data_interval_start"  # of `schedule.date`: a run comes after the interval that it is of


def last_interval_start(cron: str, moment: datetime) -> datetime:
    """The start of the last interval that is over, as Airflow's `CronDataIntervalTimetable` infers it."""
    from croniter import croniter

    expression = PRESETS.get(cron, cron)
    end = croniter(expression, moment).get_prev(datetime)
    if croniter(expression, end).get_next(datetime) == moment:
        end = moment
    start: datetime = croniter(expression, end).get_prev(datetime)
    return start


def manual_date(schedule: ScheduleConfig, moment: datetime) -> datetime:
    """The date that a run fills in which is started by hand.

    :param moment: its logical date, else when it is started.
    """
    if schedule.cron is None or schedule.date != HAS_INTERVALS:
        return moment
    return last_interval_start(schedule.cron, moment)


def backfill_dates(schedule: ScheduleConfig, first: datetime, last: datetime, now: datetime) -> list[datetime]:
    """The logical dates of a backfill, both ends included; without those that are not over by now.

    :raises ConfigError: the schedule has no dates, or none of them lies in between.
    """
    cron = schedule.cron
    if cron is None or cron in PRESETS_WITHOUT_INTERVAL:
        raise ConfigError(
            f"schedule.cron is {cron or 'null'}, which has no dates for a backfill. Set a cron expression or a preset "
            "like @daily in config/config.yaml, or plan one run with --date."
        )
    if first > last:
        raise ConfigError(f"--from-date {first:%Y-%m-%d} is after --to-date {last:%Y-%m-%d}. Exchange them.")
    found = list(_dates(PRESETS.get(cron, cron), first, last, now, has_intervals=schedule.date == HAS_INTERVALS))
    if not found:
        raise ConfigError(
            f"schedule.cron {cron} has no date from {first:%Y-%m-%d} to {last:%Y-%m-%d} that is over. Choose others."
        )
    return found


def _dates(
    expression: str, first: datetime, last: datetime, now: datetime, *, has_intervals: bool
) -> Iterator[datetime]:
    from croniter import croniter

    dates = croniter(expression, first)
    date: datetime = first if croniter.match(expression, first) else dates.get_next(datetime)
    while date <= last:
        following: datetime = dates.get_next(datetime)
        if (following if has_intervals else date) >= now:
            return
        yield date
        date = following


def parse_date(text: str, option: str) -> datetime:
    """A date, or a date with a time.

    :param option: which gave it, for people.
    :raises ConfigError: it is none.
    """
    try:
        found = datetime.fromisoformat(text)
        return found.astimezone(UTC) if found.tzinfo else found.replace(tzinfo=UTC)
    except (ValueError, OverflowError):  # in UTC it may be before the year 1
        raise ConfigError(f"{option}: {text!r} is not a date. Write it like 2026-03-01.") from None
