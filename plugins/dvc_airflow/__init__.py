"""Any DVC project as Airflow tasks: one task per stage, edges from dvc.yaml, a workspace of its own for each task.

XCom carries lock entries (which data), the DVC cache and remote carry the bytes. Knows nothing of the project at hand.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dvc_airflow.dag import DvcDag
    from dvc_airflow.operators import DvcPushOperator, DvcStageOperator
    from dvc_airflow.task_group import DvcTaskGroup

__all__ = ["DvcDag", "DvcPushOperator", "DvcStageOperator", "DvcTaskGroup"]

_MODULES = {
    "DvcDag": "dag",
    "DvcTaskGroup": "task_group",
    "DvcPushOperator": "operators",
    "DvcStageOperator": "operators",
}


def __getattr__(name: str) -> Any:
    # When it is asked for: the process that reads a project for the DAG processor has no use for Airflow.
    if name in _MODULES:
        return getattr(import_module(f"dvc_airflow.{_MODULES[name]}"), name)
    raise AttributeError(f"module {__name__} has no attribute {name}")
