"""A DVC project as a DAG that runs every day."""

from pathlib import Path

from dvc_airflow import DvcDag

dag = DvcDag("first", project_dir=Path(__file__).parent / "project", schedule="@daily")
