"""The configuration of one run: config/config.yaml, the values of the run, its date, and the version of its data."""

from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from include.errors import ConfigError
from include.settings import CONFIG_FILE, PROJECT_DIR, PipelineConfig, RuntimeSettings, ScheduleConfig
from include.settings.config_file import FORCE, as_written, dump_yaml, load_config_with
from include.settings.keys import as_given
from include.store.sources import current_version, fill_date


def config_with(
    conf: Mapping[str, Any], date_of: Callable[[ScheduleConfig], datetime], where: str
) -> tuple[PipelineConfig, bool]:
    """The configuration of a run, its date filled in; and whether the run executes every stage.

    :param conf: the values of the run.
    :param date_of: gives its date, by the schedule.
    :param where: the values come from, for messages.
    :raises ConfigError: a key or value is wrong.
    """
    values = dict(conf)
    force = values.pop(FORCE, False)
    if not isinstance(force, bool):
        raise ConfigError(f"{where}, {FORCE}: {as_given(force)} is neither true nor false.")
    config = load_config_with(values, where)
    source = fill_date(config.data.source, date_of(config.schedule))
    return _with_data(config, source=source), force


def pinned(config: PipelineConfig, runtime: RuntimeSettings, project_dir: Path = PROJECT_DIR) -> PipelineConfig:
    """The configuration with the version that the source has now, where it names none.

    :raises DataError: there is nothing at ``data.source``.
    :raises AccessError, ServiceError: it cannot be asked.
    """
    version = config.data.version or current_version(config.data.source, runtime, project_dir)
    return _with_data(config, version=version)


def files_of(config: PipelineConfig) -> dict[str, str]:
    """The texts that take the place of the project's files in the workspaces of a run, by path."""
    return {str(CONFIG_FILE): dump_yaml(as_written(config))}


def _with_data(config: PipelineConfig, **values: Any) -> PipelineConfig:
    return config.model_copy(update={"data": config.data.model_copy(update=values)})
