"""A project whose stages are in several dvc.yaml files: all of them are one DAG."""

from dvc_airflow import DvcDag

DvcDag("monorepo", project_dir="project", schedule=None)
