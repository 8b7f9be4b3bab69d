"""Training on workers with a GPU: see the queue and the pod in dvc.yaml."""

from pathlib import Path

from dvc_airflow import DvcDag

dag = DvcDag("gpu", project_dir=Path(__file__).parent / "project", schedule=None, env=["NVIDIA_VISIBLE_DEVICES"])
