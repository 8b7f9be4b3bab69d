"""Imported by the fork server alone: see airflow_fork.py."""

from tests.support.airflow_fork import preload

preload()
