"""One stage per region, one at a time: see the pool in dvc.yaml."""

from dvc_airflow import DvcDag

DvcDag("foreach", project_dir="project", schedule=None)
