"""What the DAGs make, as Airflow Assets: other DAGs can be scheduled on them.

A task emits an event only when there is something new. So its outlet is an alias, to which it adds the Asset then: an
outlet that is the Asset itself would emit an event each time the task succeeds.
"""

from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from airflow.listeners import hookimpl
from airflow.sdk import Asset, AssetAlias

from include.settings import PipelineConfig
from ml_operators.results import RegisteredModel

if TYPE_CHECKING:
    from airflow.models.dagrun import DagRun
    from airflow.sdk import Context

SCHEMES = DATA, MODELS = "x-dvc://", "x-mlflow://"
ALIAS_ENDING = ":new"


def raw_data_asset(config: PipelineConfig) -> Asset:
    """The data set that the stages start from.

    Its events have bucket, md5, source, version, dag_id and run_id in ``extra``.
    """
    # No s3:// address: DVC keeps the file under its hash, and Airflow would import boto3 for it at each parse. Nor the
    # bucket: an Asset that keeps its name and changes its address stays inactive where no scheduler runs.
    name = config.registry.model_name
    return Asset(name=f"{name}:raw_data", uri=f"{DATA}data/{_in_address(name)}")


def model_asset(config: PipelineConfig) -> Asset:
    """The registered versions. Its events have name, version, md5, metrics, mlflow_run_id, dag_id and run_id."""
    return _registered(config, "model", "")


def champion_asset(config: PipelineConfig) -> Asset:
    """The version that holds the alias `champion`. Its events have what those of `model_asset` have."""
    return _registered(config, "champion", "@champion")


def alias_of(asset: Asset) -> str:
    """The name of the alias under which a task may emit the Asset's events."""
    return f"{asset.name}{ALIAS_ENDING}"


def emit(context: "Context", asset: Asset, extra: Mapping[str, Any]) -> None:
    """Emit an event of an Asset, when the task succeeds. The task has `alias_of` it among its outlets.

    A run with another model or bucket than config/config.yaml names makes another Asset, which no outlet names: there
    is no event.
    """
    ti = context["ti"]
    alias = AssetAlias(alias_of(asset))
    if alias in context["outlets"]:
        run = {"dag_id": ti.dag_id, "run_id": ti.run_id}
        context["outlet_events"][alias].add(asset, extra={**extra, **run})


def about_version(model: RegisteredModel) -> dict[str, Any]:
    """What an event says of a version."""
    return {**model.model_dump(include={"name", "version", "md5", "metrics"}), "mlflow_run_id": model.run_id}


def _registered(config: PipelineConfig, kind: str, alias: str) -> Asset:
    name = config.registry.model_name
    return Asset(name=f"{name}:{kind}", uri=f"{MODELS}models/{_in_address(name)}{alias}")


def _in_address(name: str) -> str:
    """A model's name as Airflow's database takes it in an address: in ASCII. Most names stay as they are."""
    return quote(name, safe="".join(chr(code) for code in range(0x20, 0x7F) if chr(code) != "%"))


class AliasListener:
    """Links each alias to its Asset before the tasks of a run emit events.

    Airflow makes that link with the first event. Of two tasks that emit their first event at the same time, its API
    server sets the second to failed, without a retry, because the link is there already.
    """

    @hookimpl
    def on_dag_run_running(self, dag_run: "DagRun", msg: str) -> None:
        """Called by Airflow's scheduler, where the database is."""
        from airflow.models.asset import AssetAliasModel, AssetModel
        from airflow.utils.session import create_session
        from sqlalchemy import or_, select
        from sqlalchemy.exc import IntegrityError

        ours = or_(*(AssetModel.uri.startswith(scheme) for scheme in SCHEMES))
        same_name = AssetAliasModel.name == AssetModel.name + ALIAS_ENDING
        pairs = select(AssetModel, AssetAliasModel).join(AssetAliasModel, same_name).where(ours)
        # Not in the scheduler's own session, which may not commit here. Another scheduler may be faster.
        with suppress(IntegrityError), create_session(scoped=False) as session:
            for asset, alias in session.execute(pairs).all():
                if alias not in asset.aliases:
                    asset.aliases.append(alias)
