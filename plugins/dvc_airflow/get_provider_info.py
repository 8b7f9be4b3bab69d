"""What Airflow's list of providers shows of this package."""

from typing import Any


def get_provider_info() -> dict[str, Any]:
    """:return: after Airflow's own schema, ``airflow/provider_info.schema.json``; the version is the wheel's."""
    name = "DVC"
    return {
        "package-name": "airflow-provider-dvc",
        "name": name,
        "description": "Any DVC project on Airflow: every stage of dvc.yaml a task.",
        "integrations": [{"integration-name": name, "external-doc-url": "https://dvc.org", "tags": ["software"]}],
        "operators": [
            {"integration-name": name, "python-modules": ["dvc_airflow.operators", "dvc_airflow.prepare"]},
        ],
    }
