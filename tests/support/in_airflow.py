"""What tests have Airflow do and tell, in a process where it is set up: ``dag.test()``, a DagBag, the ORM.

In a fork it is called by `tests.support.airflow_fork`; a benchmark runs this file as a program.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any


def import_errors(dag_folder: str) -> dict[str, str]:
    """What is wrong with the DAG files, by file, as ``airflow dags list-import-errors --local`` has it."""
    return {str(file): str(error) for file, error in _dag_bag(dag_folder).import_errors.items()}


def described(dag_folder: str, dag_id: str) -> dict[str, Any]:
    """A DAG as Airflow sees it: edges, types, commands, settings of the tasks, schedule, form."""
    dag = _dag_bag(dag_folder).dags[dag_id]
    return {
        "edges": {task.task_id: sorted(task.downstream_task_ids) for task in dag.tasks},
        "types": {task.task_id: [cls.__name__ for cls in type(task).__mro__] for task in dag.tasks},
        "commands": {task.task_id: getattr(task, "bash_command", None) for task in dag.tasks},
        "settings": {task.task_id: _settings(task) for task in dag.tasks},
        "params": {
            name: {"value": param.value, "schema": param.schema, "description": param.description}
            for name, param in dag.params.items()
        },
        "copied_params": {task.task_id: len(task.params) for task in dag.tasks if task.params},
        "retries": sorted({(task.retries, task.retry_delay.total_seconds()) for task in dag.tasks}),
        "schedule": str(dag.schedule),
        "max_active_runs": dag.max_active_runs,
        "catchup": dag.catchup,
        "start_date": dag.start_date and dag.start_date.isoformat(),
        "doc": dag.doc_md,
    }


def _settings(task: Any) -> dict[str, Any]:
    timeout = task.execution_timeout
    return {
        **{
            name: getattr(task, name)
            for name in ("pool", "pool_slots", "queue", "priority_weight", "retries", "executor")
        },
        "timeout": timeout.total_seconds() if timeout else None,
    }


def pod_of(dag_folder: str, dag_id: str, task_id: str) -> dict[str, Any]:
    """The pod that the KubernetesExecutor would make for a task, from the DAG as the scheduler has it."""
    from airflow.providers.cncf.kubernetes.pod_generator import PodGenerator
    from airflow.serialization.serialized_objects import DagSerialization
    from kubernetes.client import ApiClient, V1Container, V1Pod, V1PodSpec

    written = json.loads(json.dumps(DagSerialization.to_dict(_dag_bag(dag_folder).dags[dag_id])))
    task = DagSerialization.from_dict(written).get_task(task_id)
    template = V1Pod(api_version="v1", kind="Pod", spec=V1PodSpec(containers=[V1Container(name="base")]))
    pod = PodGenerator.construct_pod(
        dag_id=dag_id, task_id=task_id, pod_id="pod", try_number=1, kube_image="airflow:test", date=None, run_id="run",
        args=["airflow"], pod_override_object=PodGenerator.from_obj(task.executor_config),
        base_worker_pod=template, namespace="default", scheduler_job_id="1",
    )  # fmt: skip
    return dict(ApiClient().sanitize_for_serialization(pod))


def command(dag_folder: str, arguments: Sequence[str]) -> None:
    """Run ``airflow ...``; an error that it lets through is raised."""
    from airflow.cli import cli_parser

    parsed = cli_parser.get_parser().parse_args(arguments)
    parsed.func(parsed)


def run_dag(dag_folder: str, dag_id: str, steps: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Run a DAG by ``dag.test()``, once per step.

    :param steps: each with ``conf``, ``env`` (variables for that run), ``logical_date`` (None: none), ``run_type`` and
        ``after`` (by task id, a command of bash that runs in the project when the task has succeeded).
    :return: per step the run's id, state, tasks, tries, durations, returned values, XComs and failures.
    """
    bag = _dag_bag(dag_folder)
    if bag.import_errors:
        raise RuntimeError(str(bag.import_errors))
    if "CHECK_PLANS" in os.environ:
        from tests.support.plan_check import check_plans

        check_plans()
    dag = bag.dags[dag_id]
    failures: dict[str, str] = {}
    for task in dag.tasks:
        task.on_failure_callback = task.on_retry_callback = [
            lambda context: failures.update({context["ti"].task_id: str(context["exception"])})
        ]
    results = []
    for step in steps:
        failures.clear()
        for task in dag.tasks:
            then = step.get("after", {}).get(task.task_id)
            task.on_success_callback = [lambda context, then=then: subprocess.run(then, shell=True, check=True)] * (
                then is not None
            )
        before = dict(os.environ)
        os.environ.update(step.get("env", {}))
        arguments: dict[str, Any] = {"logical_date": None} if "logical_date" in step else {}
        with _run_type(step.get("run_type", "manual")):
            run = dag.test(run_conf=step.get("conf"), **arguments)
        os.environ.clear()
        os.environ.update(before)
        results.append({**_result_of(run), "failures": dict(failures)})
    return results


def asset_events(dag_folder: str, dag_id: str) -> list[dict[str, Any]]:
    """The Asset events of a DAG's runs, oldest first; ``queued`` are the DAGs that they have scheduled."""
    from airflow.models.asset import AssetDagRunQueue, AssetEvent, PartitionedAssetKeyLog
    from airflow.utils.session import create_session
    from sqlalchemy import select

    with create_session() as session:
        events = session.scalars(select(AssetEvent).filter_by(source_dag_id=dag_id).order_by(AssetEvent.id)).all()
        queue = [*session.scalars(select(AssetDagRunQueue)), *session.scalars(select(PartitionedAssetKeyLog))]
        return [
            {
                "name": event.asset.name,
                "uri": event.asset.uri,
                "extra": event.extra,
                "run_id": event.source_run_id,
                "partition_key": event.partition_key,
                "queued": sorted({item.target_dag_id for item in queue if item.asset_id == event.asset_id}),
            }
            for event in events
        ]


@contextmanager
def _run_type(name: str) -> Iterator[None]:
    """Have ``dag.test()``, whose runs are manual, make a run of another type."""
    from airflow.models import dagrun
    from airflow.utils.types import DagRunType

    original = dagrun.get_or_create_dagrun

    def created(*, session: Any, **arguments: Any) -> Any:
        run = original(session=session, **arguments)
        run.run_type = DagRunType(name)
        session.commit()
        return run

    dagrun.get_or_create_dagrun = created
    try:
        yield
    finally:
        dagrun.get_or_create_dagrun = original


def _dag_bag(folder: str) -> Any:
    from airflow.dag_processing.dagbag import BundleDagBag

    return BundleDagBag(dag_folder=folder, bundle_path=Path(folder), bundle_name="dags-folder")


def _name_of(instance: Any) -> str:
    """The task's id; of a mapped one, with the index: ``trial.train[3]``."""
    return instance.task_id if instance.map_index < 0 else f"{instance.task_id}[{instance.map_index}]"


def _result_of(run: Any) -> dict[str, Any]:
    from airflow.models.xcom import XComModel
    from airflow.utils.session import create_session

    with create_session() as session:
        xcoms = session.scalars(XComModel.get_many(run_id=run.run_id, dag_ids=run.dag_id)).all()
        instances = run.get_task_instances(session=session)
        return {
            "run_id": run.run_id,
            "state": str(run.state),
            "tasks": {_name_of(ti): str(ti.state) for ti in instances},
            "tries": {_name_of(ti): ti.try_number for ti in instances},
            "seconds": (run.end_date - run.start_date).total_seconds(),
            "durations": {_name_of(ti): ti.duration for ti in instances},
            "returned": {_name_of(x): x.value for x in xcoms if x.key == "return_value"},
            "xcoms": {f"{_name_of(x)}:{x.key}": x.value for x in xcoms},
        }


if __name__ == "__main__":
    # For a benchmark, which measures a process of its own: the DAG's id, and the steps as JSON.
    print(json.dumps(run_dag(os.environ["AIRFLOW__CORE__DAGS_FOLDER"], sys.argv[1], json.loads(sys.argv[2]))))
