"""`ResolveConfigOperator`: the configuration of this run, resolved and checked."""

from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator

from include.errors import ConfigError
from include.lineage.code_state import code_state
from include.settings import CONFIG_FILE, PROJECT_DIR
from include.settings.config_file import dump_yaml, load_config_with
from include.store.sources import current_version, fill_date
from ml_operators.base import runtime_settings
from ml_operators.params import FORCE
from ml_operators.results import ResolvedRun

if TYPE_CHECKING:
    from airflow.sdk import Context


class ResolveConfigOperator(BaseOperator):
    """Lay the run's conf over config/config.yaml, fill in the run's date, pin the version of the source.

    Returns a `ResolvedRun`, whole and with its fields as separate XComs.
    """

    ui_color = "#e8f3d6"

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(multiple_outputs=True, **kwargs)

    def execute(self, context: "Context") -> dict[str, Any]:
        """Resolve and check.

        :raises ConfigError: a key or value is wrong.
        :raises DataError: there is nothing at ``data.source``.
        """
        run = context["dag_run"]
        conf = dict(run.conf or {})
        force = conf.pop(FORCE, False)
        if not isinstance(force, bool):
            raise ConfigError(f"the run's conf, {FORCE}: {force!r} is neither true nor false.")
        config = load_config_with(conf, "the run's conf")
        # A manual run may have no logical date; run_after is always there.
        source = fill_date(config.data.source, run.logical_date or run.run_after)
        version = config.data.version or current_version(source, runtime_settings(), PROJECT_DIR)
        data = config.data.model_copy(update={"source": source, "version": version})
        config = config.model_copy(update={"data": data})
        self.log.info("Source %s, version %s", source, version or "built-in")
        resolved = config.model_dump(mode="json")
        return ResolvedRun(
            config=resolved,
            files={str(CONFIG_FILE): dump_yaml(resolved)},
            remote_url=config.remote_url,
            code=code_state(PROJECT_DIR),
            force=force,
        ).to_xcom()
