"""`RollBackOperator`: the alias `champion` goes back to an earlier version."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from airflow.sdk import Asset, AssetAlias, BaseOperator

from include.errors import ConfigError
from include.mlflow_client import connect, translated_errors
from include.registry.champion import Actor, Champion
from include.registry.lost_run import lost_run
from include.settings.config_file import load_config
from ml_operators.assets import alias_of, champion_asset, emit
from ml_operators.base import runtime_settings
from ml_operators.links import ModelVersionLink

if TYPE_CHECKING:
    from airflow.sdk import Context


class RollBackOperator(BaseOperator):
    """Give the alias `champion` back. Reads the run's Params ``version`` (a number, or previous) and ``reason``.

    Returns the change, see `include.registry.history.ChampionChange`, and the model's ``name``. It is an event of the
    champion's Asset.
    """

    ui_color = "#e8f3d6"
    operator_extra_links = (ModelVersionLink(),)

    def __init__(self, *, asset: Asset, **kwargs: Any) -> None:
        super().__init__(outlets=[AssetAlias(alias_of(asset))], **kwargs)

    def execute(self, context: "Context") -> dict[str, Any]:
        """Roll back, and record why.

        :raises DataError: the version does not exist, or there was none before it.
        """
        config, runtime, ti, run = load_config(), runtime_settings(), context["ti"], context["dag_run"]
        target, reason = str(context["params"]["version"]), str(context["params"]["reason"]).strip()
        if not reason:
            raise ConfigError("params: reason is empty. Give a reason; it is recorded with the change.")
        mlflow = connect(runtime)
        by = run.triggering_user_name or f"run {ti.run_id} of DAG {ti.dag_id}"
        with translated_errors(runtime):
            champion = Champion(config, runtime, mlflow)
            change = champion.roll_back(target, reason, Actor(by, f"{ti.dag_id}/{ti.run_id}/{ti.task_id}"))
            version = mlflow.get_model_version(champion.name, change.version)
            lost = lost_run(runtime, champion.name, change.version)
        if lost:
            self.log.warning("%s", lost)
        self.log.info("Champion: version %s -> %s (%s)", change.before, change.version, reason)
        extra = {
            "name": champion.name,
            "version": change.version,
            "md5": version.tags.get("md5.model"),
            "mlflow_run_id": version.run_id,
            "rolled_back_from": change.before,
        }
        emit(context, champion_asset(config), extra)
        return {**asdict(change), "name": champion.name}
