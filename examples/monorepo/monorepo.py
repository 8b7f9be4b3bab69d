"""A project whose stages are in several dvc.yaml files: all of them are one DAG."""

from pathlib import Path

from dvc_airflow import DvcDag

dag = DvcDag("monorepo", project_dir=Path(__file__).parent / "project", schedule=None)
