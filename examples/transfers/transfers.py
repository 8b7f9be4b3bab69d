"""Orders are downloaded, counted, and the result is uploaded; the worker's environment says from where and to where."""

from dvc_airflow import DvcDag

DvcDag("transfers", project_dir="project", schedule=None, env=["ORDERS_URL", "REPORTS_FOLDER"])
