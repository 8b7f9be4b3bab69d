"""Airflow in a process of its own per call, without importing it anew each time.

Importing Airflow takes ten seconds on two cores. So one server process imports it once and forks for each call; the
fork reads the settings of the deployment at hand, and the project's own code is not yet imported in it. What runs
there is Airflow itself: ``dag.test()``, a DagBag, the ORM.
"""

import ctypes
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from multiprocessing import forkserver
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
TIMEOUT = 600  # seconds: a hang is meant, not a slow machine
_PR_SET_PDEATHSIG = 1  # linux/prctl.h


class AirflowCallError(Exception):
    """The call failed, or its process ended; the message has the end of what it printed."""


def call(work: Callable[..., Any], *arguments: Any, project: Path, env: Mapping[str, str], log: Path) -> Any:
    """Run a function in a fork that has Airflow imported and set up for a copy of the project.

    :param work: a function of this module.
    :param env: the whole environment of the fork.
    :param log: a file for what it prints.
    :raises AirflowCallError: it failed.
    """
    context = _context(env)
    env = {**env, **{name: os.environ[name] for name in ("CHECK_PLANS",) if name in os.environ}}
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_in_fork, args=(sender, work, arguments, str(project), dict(env), str(log)))
    process.start()
    sender.close()
    try:
        answered = receiver.poll(TIMEOUT)
        failed, answer = receiver.recv() if answered else (True, f"no answer within {TIMEOUT} s")
    except EOFError:
        failed, answer = True, "the process ended"
    finally:
        receiver.close()
        process.join(10)
        if process.is_alive():
            process.kill()
    if failed:
        raise AirflowCallError(f"{answer}; it printed last:\n{log.read_text(errors='replace')[-4000:]}")
    return answer


def _context(env: Mapping[str, str]) -> Any:
    """The fork server, which the first call starts: from the environment of a deployment, for Airflow wants one."""
    context = multiprocessing.get_context("forkserver")
    before = dict(os.environ)
    os.environ.clear()
    os.environ.update({**env, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore"})
    try:
        context.set_forkserver_preload(["tests.support.preloaded"])
        forkserver.ensure_running()
    finally:
        os.environ.clear()
        os.environ.update(before)
    return context


def _in_fork(
    sender: Any, work: Callable[..., Any], arguments: Sequence[Any], project: str, env: dict[str, str], log: str
) -> None:
    _end_with_parent()
    os.register_at_fork(after_in_child=_end_with_parent)  # also where this process is killed
    multiprocessing.set_start_method(None, force=True)  # Python's own, as Airflow has it, and no server for each fork
    with open(log, "ab", buffering=0) as stream:
        os.dup2(stream.fileno(), 1)
        os.dup2(stream.fileno(), 2)
    os.environ.clear()
    os.environ.update(env)
    os.chdir(project)
    try:
        _set_up(project)
        answer = (False, work(*arguments))
    except BaseException as error:  # noqa: BLE001 - whatever it is, the caller has to know
        import traceback

        traceback.print_exc()
        answer = (True, f"{type(error).__name__}: {error}")
    _stop_listeners()
    sys.stdout.flush()
    sys.stderr.flush()
    sender.send(answer)
    sender.close()
    os._exit(0)  # not what the imported libraries do at exit: they clean up for the server's process


def _end_with_parent() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def _stop_listeners() -> None:
    """Have Airflow's listeners finish, if there are any: OpenLineage's has processes, which tell of the run."""
    from airflow.listeners.listener import get_listener_manager
    from airflow.sdk.execution_time.task_runner import TaskRunnerMarker

    if get_listener_manager.cache_info().currsize:  # made where something happened that they are told of
        get_listener_manager().hook.before_stopping(component=TaskRunnerMarker())


def _set_up(project: str) -> None:
    """Have Airflow read its settings again, and Python find the project's code in this copy alone."""
    from airflow import settings

    site_packages = [path for path in sys.path if "site-packages" in path or path.startswith(sys.base_prefix)]
    sys.path[:] = [project, *site_packages]
    tempfile.tempdir = None  # the fork server's, by the deployment that started it
    settings.dispose_orm(do_log=False)
    settings.initialize()


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
        raise AirflowCallError(str(bag.import_errors))
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
