"""One stage per region, one at a time: see the pool in dvc.yaml."""

from pathlib import Path

from dvc_airflow import DvcDag

dag = DvcDag("foreach", project_dir=Path(__file__).parent / "project", schedule=None)
