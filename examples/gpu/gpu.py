"""Training on workers with a GPU: see the queue and the pod in dvc.yaml."""

from dvc_airflow import DvcDag

DvcDag("gpu", project_dir="project", schedule=None)
