"""Orders are downloaded, counted, and the result is uploaded; the worker's environment says from where and to where."""

from pathlib import Path

from dvc_airflow import DvcDag

dag = DvcDag(
    "transfers", project_dir=Path(__file__).parent / "project", schedule=None, env=["ORDERS_URL", "REPORTS_FOLDER"]
)
