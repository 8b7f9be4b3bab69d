"""The operators: one DVC stage, and the push of what the stages made."""

from dvc_airflow.operators.base import DvcOperator, Environment
from dvc_airflow.operators.push import DvcPushOperator
from dvc_airflow.operators.stage import DvcStageOperator

__all__ = ["DvcOperator", "DvcPushOperator", "DvcStageOperator", "Environment"]
