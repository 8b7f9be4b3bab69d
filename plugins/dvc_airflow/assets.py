"""The outputs of a DVC project as Airflow Assets: other DAGs can be scheduled on them.

A push has them as outlets, so that Airflow knows them when it parses the DAG. Each outlet of a task that succeeds gets
an event, so a push drops those that have nothing new when it ends.
"""

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from airflow.sdk import Asset

from dvc_airflow.arguments import one_of
from dvc_airflow.project import Artifact
from dvc_airflow.result import StageResult

if TYPE_CHECKING:
    from airflow.sdk import BaseOperator, Context

log = logging.getLogger(__name__)

BY_DATE = "by_date"
DATE_FORMAT = "%Y-%m-%dT%H:%M:%S"  # of Airflow's own partition keys
MOST_EVENTS = 200  # are searched for the last one of a partition or a map index


def output_asset(dag_id: str, name: str, group_id: str | None = None) -> Asset:
    """The Asset of an output, for the ``schedule`` of another DAG.

    :param dag_id: the DAG that pushes it.
    :param name: the output's path in the project, such as ``models/model.pkl``; in a project that has ``artifacts:``,
        the name of the artifact (``sub:model`` if it is in ``sub/dvc.yaml``).
    :param group_id: the task group in which it is pushed, if it is in one.
    """
    place = f"{dag_id}:{group_id}" if group_id else dag_id  # neither id may contain a colon
    # The address follows from the name: an Asset that changes only one of them stays inactive until a scheduler runs.
    return Asset(name=f"{place}/{name}", uri=f"x-dvc://outputs/{quote(place)}/{quote(name)}")


def checked(emit_assets: Any) -> bool | str:
    """Check what was given as ``emit_assets``.

    :raises ValueError: it is none of what it may be, or this Airflow gives events no partition key.
    """
    value: bool | str = one_of("emit_assets", emit_assets, (False, True, BY_DATE))
    if value == BY_DATE:
        from airflow.sdk.execution_time.context import OutletEventAccessor

        if not hasattr(OutletEventAccessor, "add_partitions"):
            raise ValueError("emit_assets='by_date' needs Airflow 3.3 or newer. Use True: the date is in `extra`.")
    return value


def assets_of(task: "BaseOperator", artifacts: Iterable[Artifact]) -> dict[Asset, Artifact]:
    """The Assets of what a task pushes.

    :raises ValueError: the task is in no DAG yet, or another one of the DAG has the same Assets.
    """
    dag = task.get_dag()
    if dag is None:
        raise ValueError(
            f"task {task.task_id}: emit_assets needs the DAG's id. Create the task inside `with DAG(...):`."
        )
    group_id = task.task_group.group_id if task.task_group else None
    assets = {output_asset(task.dag_id, artifact.name, group_id): artifact for artifact in artifacts}
    for other in dag.tasks:
        if other.task_id != task.task_id and (shared := [asset.name for asset in assets if asset in other.outlets]):
            raise ValueError(
                f"tasks {other.task_id} and {task.task_id} both emit the Asset {shared[0]}. Leave emit_assets out of "
                "one of them, or put each into a task group of its own."
            )
    return assets


@dataclass(frozen=True)
class Emission:
    """The events of one push.

    :param stages: how the stages ended whose outputs were pushed.
    :param remote: its address, without credentials.
    :param by_date: whether the run's logical date is the partition key of the events.
    """

    context: "Context"
    stages: Sequence[StageResult]
    remote: str | None
    by_date: bool = False

    def of(self, assets: dict[Asset, Artifact]) -> list[Asset]:
        """Describe an event for each Asset that has something new.

        :return: these Assets. Airflow emits the events when the task succeeds with them as outlets.
        """
        return [asset for asset, artifact in assets.items() if self._describe(asset, artifact)]

    def _describe(self, asset: Asset, artifact: Artifact) -> bool:
        results = [result for result in self.stages if result.stage == artifact.stage]
        md5 = _md5(results[0], artifact.recorded) if results else None
        partition = self._partition_key()
        if md5 is None or md5 == self._last_md5(asset, partition):
            return False
        event = self.context["outlet_events"][asset]
        event.extra = {"md5": md5, **self._about(artifact, results[0])}
        if self.by_date and partition:
            event.add_partitions(partition)
        log.info("%s is new (md5 %s): an event of the Asset %s", artifact.path, md5, asset.name)
        return True

    def _about(self, artifact: Artifact, result: StageResult) -> dict[str, Any]:
        ti, date = self.context["ti"], self.context["dag_run"].logical_date
        about = {
            "path": artifact.path,
            "stage": artifact.stage,
            "outcome": str(result.outcome),
            "executed_in": result.executed_in,
            "dag_id": ti.dag_id,
            "run_id": ti.run_id,
            "map_index": ti.map_index if _is_mapped(ti) else None,
            "date": date.isoformat() if date else None,
            "remote": self.remote,
        }
        if artifact.is_declared:
            about |= {"name": artifact.name, "type": artifact.type, "description": artifact.description}
        return {key: value for key, value in about.items() if value is not None}

    def _partition_key(self) -> str | None:
        """What the events will have: the date, or the run's own key, which Airflow gives them by itself."""
        run = self.context["dag_run"]
        if self.by_date and run.logical_date:
            return str(run.logical_date.astimezone(self.context["dag"].timezone).strftime(DATE_FORMAT))
        return getattr(run, "partition_key", None)

    def _last_md5(self, asset: Asset, partition: str | None) -> str | None:
        """What the Asset's last event says, of the same partition and map index.

        Airflow's own events are asked, which are written together with the state of the task: an event is neither lost
        nor repeated where a push is retried or cleared.
        """
        from airflow.sdk.exceptions import AirflowRuntimeError
        from airflow.sdk.execution_time.context import InletEventsAccessors

        ti = self.context["ti"]
        most = MOST_EVENTS if self.by_date or partition or _is_mapped(ti) else 1
        events = InletEventsAccessors([asset])[asset].ascending(False).limit(most)
        own = (partition, ti.map_index if _is_mapped(ti) else -1)
        try:
            last = next((event for event in events if _kind(event) == own), None)
        except AirflowRuntimeError as error:
            # An event too many makes another DAG look once; a missing one keeps it from running.
            log.warning("The last event of the Asset %s is not known, so there is a new one: %s", asset.name, error)
            return None
        md5 = (last.extra or {}).get("md5") if last else None
        return md5 if isinstance(md5, str) else None


def _is_mapped(ti: Any) -> bool:
    return ti.map_index is not None and ti.map_index >= 0


def _kind(event: Any) -> tuple[str | None, int]:
    """The partition key and the map index of an event; one by hand has no index."""
    index = event.source_map_index
    return getattr(event, "partition_key", None), -1 if index is None else index


def _md5(result: StageResult, path: str) -> str | None:
    """Of an output; that of a folder ends with ``.dir``."""
    found = [out.get("md5") for out in result.entry.get("outs", []) if out["path"] == path]
    return found[0] if found else None
