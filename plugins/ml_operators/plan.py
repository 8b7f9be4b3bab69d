"""``python -m ml_operators.plan``: plan runs of ml_pipeline, for ``python -m include plan``. Without Airflow.

Reads what is asked for as JSON from stdin. A process of its own, for `include` knows neither DVC nor the stages' life.
"""

import json
import logging
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, time
from functools import cached_property, partial
from typing import Any, Self

from dvc_airflow.errors import RemoteError, TaskError, in_words
from dvc_airflow.plan import planner_of
from dvc_airflow.plan_report import conf_of, form_of, searched
from dvc_airflow.project import default_graph_cache_dir
from dvc_airflow.project_run import ProjectRun
from include.errors import ConfigError, PipelineError
from include.lineage.lineage_store import LineageStore
from include.run_config import config_with, files_of, pinned
from include.settings import PROJECT_DIR, PipelineConfig, RuntimeSettings, how_to_start, load_runtime_settings
from include.settings.config_file import load_config
from include.settings.dates import backfill_dates, manual_date, parse_date
from ml_operators.published import published, why_run_is_gone

DAG_ID = "ml_pipeline"
RECORDED_RUNS = 20  # that are looked through for how long stages took
EXAMPLE = '{"model.C": 0.5}'


@dataclass(frozen=True)
class Request:
    """What is asked for: dates as people write them, values of the run as JSON."""

    conf: str | None = None
    date: str | None = None
    from_date: str | None = None
    to_date: str | None = None
    as_json: bool = False
    as_markdown: bool = False

    @classmethod
    def read(cls, text: str) -> Self:
        """From JSON."""
        return cls(**json.loads(text))

    def dates(self) -> list[datetime | None]:
        """The dates that ``{date}`` becomes in the runs; None: a run that is started now.

        :raises ConfigError: a date is none, or they do not go together.
        """
        ends = (self.from_date, self.to_date)
        if self.date is not None and ends != (None, None):
            raise ConfigError("--date plans one run, --from-date and --to-date a backfill: give one or the other.")
        if (self.from_date is None) != (self.to_date is None):
            raise ConfigError("--from-date and --to-date: a backfill has both. Give the other one too.")
        if self.from_date is not None and self.to_date is not None:
            first, last = parse_date(self.from_date, "--from-date"), parse_date(self.to_date, "--to-date")
            return [*backfill_dates(load_config().schedule, first, last, datetime.now(UTC))]
        return [None if self.date is None else parse_date(self.date, "--date")]


class Plan:
    """Plans runs of the pipeline."""

    def __init__(self, request: Request) -> None:
        self._request = request

    def text(self) -> str:
        """The plan as it is to be shown.

        :raises PipelineError, TaskError, ValueError: it cannot be made; with what to do.
        """
        request = self._request
        form, conf = form_of(json=request.as_json, md=request.as_markdown), conf_of(request.conf, EXAMPLE)
        runs = [(date, *self._resolved(date, conf)) for date in request.dates()]
        first = runs[0][1]
        run = self._project_run(first)
        with planner_of(
            run, default_graph_cache_dir(), options=self._options(first), seconds_of=self._recorded_seconds
        ) as planner:
            plans = [planner.plan(_name(date), files_of(config), force=force) for date, config, force in runs]
        return form(plans, {"dag": DAG_ID, **searched(run)})

    def _resolved(self, date: datetime | None, conf: Mapping[str, Any]) -> tuple[PipelineConfig, bool]:
        """The configuration of a run as `resolve_config` would have it, and whether it executes every stage."""
        # A scheduled run or a backfill takes the date that it is of; a run by hand may have to look for it.
        config, force = config_with(conf, lambda schedule: date or manual_date(schedule, datetime.now(UTC)), "--conf")
        return pinned(config, self._runtime), force

    @cached_property
    def _runtime(self) -> RuntimeSettings:
        settings = load_runtime_settings()
        if settings.airflow_store_conn_id:  # only Airflow knows its Connections
            from ml_operators.base import runtime_settings

            return runtime_settings()
        return settings

    def _project_run(self, config: PipelineConfig) -> ProjectRun:
        runtime = self._runtime
        return ProjectRun(
            PROJECT_DIR,
            dag_id=DAG_ID,
            run_id="plan",
            cache_dir=runtime.shared_cache(PROJECT_DIR),
            remote_url=config.remote_url,
            remote_options=runtime.dvc_timeouts(),
            credentials=runtime.dvc_credentials,
        )

    def _options(self, config: PipelineConfig) -> dict[str, dict[str, Any]]:
        """What the DAG says of the stages."""
        options: dict[str, dict[str, Any]] = {
            stage: {"publish": tuple(paths)} for stage, paths in published(config.paths).items()
        }
        options["train_and_evaluate"]["check_restored"] = partial(
            why_run_is_gone, self._runtime, config.paths.mlflow_run
        )
        return options

    def _recorded_seconds(self, stage: str) -> list[float]:
        """How long executions of a stage took, by the manifests in the store."""
        return [seconds for name, seconds in self._recorded if name == stage]

    @cached_property
    def _recorded(self) -> Sequence[tuple[str, float]]:
        with suppress(PipelineError):  # without them it is not known how long stages take
            lineage = LineageStore(load_config(), self._runtime)
            manifests = [entry.manifest for entry in lineage.read_all(lineage.newest(RECORDED_RUNS))]
            records = [record for manifest in manifests if manifest for record in manifest.stages]
            return [(record.stage, record.seconds) for record in records if record.outcome == "executed"]
        return ()


def _name(date: datetime | None) -> str:
    if date is None:
        return ""
    return f"{date:%Y-%m-%d}" if date.time() == time() else date.isoformat(timespec="minutes")


def main() -> int:
    """:return: the exit code."""
    logging.getLogger("dvc_airflow").addHandler(logging.NullHandler())  # the reasons say what a warning would
    try:
        print(Plan(Request.read(sys.stdin.read())).text())
    except RemoteError as error:
        address = load_runtime_settings().aws_endpoint_url
        print(f"error: {error}{how_to_start(address)}", file=sys.stderr)
        return 1
    except (PipelineError, TaskError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except OSError as error:  # a full disk, a folder that may not be read
        print(f"error: {in_words(error)}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
