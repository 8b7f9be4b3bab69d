"""`WaitForSourceOperator`: a scheduled run waits until its data are there, without a worker slot."""

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator, timezone
from airflow.sdk.exceptions import TaskDeferralTimeout
from airflow.triggers.base import BaseTrigger, TriggerEvent

from include.errors import AccessError, DataError, PipelineError, ServiceError
from include.settings import PROJECT_DIR, PipelineConfig
from include.store.sources import current_version
from ml_operators.base import runtime_settings, runtime_settings_in_triggerer
from ml_operators.resolve_config import config_of

if TYPE_CHECKING:
    from airflow.sdk import Context

LONGEST_PAUSE = 60.0  # seconds between two questions
TRIGGERER_GRACE = timedelta(minutes=2)  # after this, Airflow ends a wait that no triggerer has ended


class WaitForSourceOperator(BaseOperator):
    """Wait until there is something at ``data.source``, at most ``schedule.wait_minutes`` from the start of the run.

    Only scheduled runs wait. The dates of backfills are past, and who starts a run by hand is there to see it fail.
    """

    ui_color = "#e8f3d6"

    def execute(self, context: "Context") -> None:
        """Ask; if there is nothing yet, leave the worker to other tasks.

        :raises AccessError, ServiceError: the source cannot be asked.
        """
        run = context["dag_run"]
        if run.run_type != "scheduled":
            self.log.info("Only scheduled runs wait; this is a run of type %s", str(run.run_type.value))
            return
        config, _ = config_of(run)
        # From the start of the run, not of the task: a retry does not wait anew, but a cleared run does.
        end = (run.start_date or run.run_after) + timedelta(minutes=config.schedule.wait_minutes)
        said = self._missing(config)
        if said is None:
            return
        if end <= timezone.utcnow():
            raise DataError(f"{said} {self._waited(config)}")
        self.log.info("%s Waiting for it until %s", said, end.isoformat(timespec="seconds"))
        self.defer(
            trigger=SourceTrigger(source=config.data.source, until=end.isoformat()),
            method_name="execute_complete",
            timeout=end - timezone.utcnow() + TRIGGERER_GRACE,
        )

    def execute_complete(self, context: "Context", event: str | None) -> None:
        """Ask again, in the worker.

        :param event: what kept the trigger from asking.
        :raises AccessError: something did.
        :raises DataError: there is still nothing, and the time is up.
        """
        if event:
            raise AccessError(f"the triggerer waits for the data, and cannot ask for them: {event}")
        config, _ = config_of(context["dag_run"])
        said = self._missing(config)
        if said is not None:
            raise DataError(f"{said} {self._waited(config)}")

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: "Context") -> Any:
        """Continue after the wait, also if the triggerer did not end it."""
        try:
            return super().resume_execution(next_method, next_kwargs, context)
        except TaskDeferralTimeout:
            config, _ = config_of(context["dag_run"])
            raise DataError(
                f"No triggerer looked for {config.data.source}. Check that `airflow triggerer` is running. "
                f"{self._waited(config)}"
            ) from None

    def _missing(self, config: PipelineConfig) -> str | None:
        """What the source says if there is nothing."""
        try:
            current_version(config.data.source, runtime_settings(), PROJECT_DIR)
        except DataError as error:
            return str(error)
        self.log.info("There are data at %s", config.data.source)
        return None

    def _waited(self, config: PipelineConfig) -> str:
        return (
            f"The run waited {config.schedule.wait_minutes:g} minutes for it (schedule.wait_minutes). "
            f"When the data are there, clear the task {self.task_id}."
        )


class SourceTrigger(BaseTrigger):
    """Ends when there is something at a source, or when the time is up.

    The database keeps the arguments, so no secret is among them: the triggerer reads its own settings.

    :param source: a resolved ``data.source``.
    :param until: in ISO format, with the time zone.
    """

    def __init__(self, source: str, until: str) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.source, self.until = source, until

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """What the triggerer makes the trigger of."""
        return f"{__name__}.{type(self).__name__}", {"source": self.source, "until": self.until}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Ask with growing pauses; the event says what kept it from asking, if anything did."""
        end, pause = datetime.fromisoformat(self.until), 1.0
        while (left := (end - timezone.utcnow()).total_seconds()) > 0:
            try:
                runtime = await runtime_settings_in_triggerer()
                await asyncio.to_thread(current_version, self.source, runtime, PROJECT_DIR)
                break
            except (DataError, ServiceError) as error:
                self.log.info("%s", error)
            except PipelineError as error:
                yield TriggerEvent(str(error))  # type: ignore[no-untyped-call]
                return
            await asyncio.sleep(min(pause, left))
            pause = min(2 * pause, LONGEST_PAUSE)
        yield TriggerEvent(None)  # type: ignore[no-untyped-call]
