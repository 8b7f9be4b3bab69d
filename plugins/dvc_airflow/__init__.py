"""Any DVC project as Airflow tasks: one task per stage, edges from dvc.yaml, a workspace of its own for each task.

XCom carries lock entries (which data), the DVC cache and remote carry the bytes. Knows nothing of the project at hand.
Use `dvc_airflow.task_group.DvcTaskGroup` and `dvc_airflow.operators`.
"""
