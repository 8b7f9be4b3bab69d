"""A DVC project as a DAG that runs every day."""

from dvc_airflow import DvcDag

DvcDag("first", project_dir="project", schedule="@daily")
