"""`ResolveConfigOperator`: the configuration of this run, resolved and checked."""

from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator

from include.errors import ConfigError
from include.lineage.code_state import code_state
from include.settings import CONFIG_FILE, PROJECT_DIR, PipelineConfig
from include.settings.config_file import FORCE, as_written, dump_yaml, load_config_with
from include.store.sources import current_version, fill_date
from ml_operators.base import runtime_settings
from ml_operators.results import ResolvedRun
from ml_operators.run_date import run_date

if TYPE_CHECKING:
    from airflow.sdk import Context


class ResolveConfigOperator(BaseOperator):
    """Lay the run's conf over config/config.yaml, fill in the run's date, pin the version of the source.

    Returns a `ResolvedRun`.
    """

    ui_color = "#e8f3d6"

    def execute(self, context: "Context") -> dict[str, Any]:
        """Resolve and check.

        :raises ConfigError: a key or value is wrong.
        :raises DataError: there is nothing at ``data.source``.
        """
        config, force = config_of(context["dag_run"])
        source = config.data.source
        version = config.data.version or current_version(source, runtime_settings(), PROJECT_DIR)
        config = config.model_copy(update={"data": config.data.model_copy(update={"version": version})})
        self.log.info("Source %s, version %s", source, version or "built-in")
        resolved = config.model_dump(mode="json")
        return ResolvedRun(
            config=resolved,
            files={str(CONFIG_FILE): dump_yaml(as_written(config))},
            remote_url=config.remote_url,
            code=code_state(PROJECT_DIR),
            force=force,
        ).to_xcom()


def config_of(run: Any) -> tuple[PipelineConfig, bool]:
    """The configuration of a run, its date filled in; and whether the run executes every stage.

    :param run: the DagRun of the task's context.
    :raises ConfigError: a key or value is wrong.
    """
    conf = dict(run.conf or {})
    force = conf.pop(FORCE, False)
    if not isinstance(force, bool):
        raise ConfigError(f"the run's conf, {FORCE}: {force!r} is neither true nor false.")
    config = load_config_with(conf, "the run's conf")
    source = fill_date(config.data.source, run_date(config.schedule, run))
    return config.model_copy(update={"data": config.data.model_copy(update={"source": source})}), force
