"""Runs a DAG by dag.test() and prints what came of it, as JSON on the last line of stdout.

Its arguments are the DAG's id and a JSON list of steps: ``conf``, ``env`` (variables for that run) and ``logical_date``
(null: none).
A process of its own, for Airflow reads its settings when it is imported.
"""

import json
import os
import sys
from typing import Any


def main() -> None:
    from airflow.dag_processing.dagbag import BundleDagBag
    from airflow.models.xcom import XComModel
    from airflow.utils.session import create_session

    folder = os.environ["AIRFLOW__CORE__DAGS_FOLDER"]
    bag = BundleDagBag(dag_folder=folder, bundle_path=folder, bundle_name="dags-folder")
    if bag.import_errors:
        sys.exit(str(bag.import_errors))
    dag = bag.dags[sys.argv[1]]
    failures: dict[str, str] = {}
    for task in dag.tasks:
        task.on_failure_callback = task.on_retry_callback = [
            lambda context: failures.update({context["ti"].task_id: str(context["exception"])})
        ]

    results = []
    for step in json.loads(sys.argv[2]):
        failures.clear()
        before = dict(os.environ)
        os.environ.update(step.get("env", {}))
        arguments: dict[str, Any] = {"logical_date": None} if "logical_date" in step else {}
        run = dag.test(run_conf=step.get("conf"), **arguments)
        os.environ.clear()
        os.environ.update(before)
        with create_session() as session:
            xcoms = session.scalars(XComModel.get_many(run_id=run.run_id, dag_ids=dag.dag_id)).all()
            results.append(
                {
                    "run_id": run.run_id,
                    "state": str(run.state),
                    "tasks": {ti.task_id: str(ti.state) for ti in run.get_task_instances(session=session)},
                    "tries": {ti.task_id: ti.try_number for ti in run.get_task_instances(session=session)},
                    "seconds": (run.end_date - run.start_date).total_seconds(),
                    "durations": {ti.task_id: ti.duration for ti in run.get_task_instances(session=session)},
                    "returned": {x.task_id: x.value for x in xcoms if x.key == "return_value"},
                    "xcoms": {f"{x.task_id}:{x.key}": x.value for x in xcoms},
                    "failures": dict(failures),
                }
            )
    print(json.dumps(results))


if __name__ == "__main__":
    main()
