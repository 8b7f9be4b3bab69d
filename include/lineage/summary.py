"""The summary of a run."""

from typing import Any

from include.lineage.manifest import Manifest


def summary(manifest: Manifest) -> dict[str, Any]:
    """The fields of a run, by the names that people use; without empty ones."""
    run, data, model = manifest.airflow, manifest.config["data"], manifest.model
    fields = {
        "run": run.run_id,
        "DAG": run.dag_id,
        "started": run.started_at,
        "logical date": run.logical_date,
        "triggered by": run.triggered_by,
        "Airflow": run.url,
        "code": str(manifest.code),
        "code pack": manifest.code.pack,
        "bundle version": manifest.code.bundle_version,
        "data": f"{data['source']} (version {data['version'] or 'built-in'})",
        "MLflow run": manifest.mlflow_run["run_id"],
        "model": f"{model.name} version {model.version}" if model else None,
        "warnings": "; ".join(manifest.warnings),
        "dvc.lock (SHA-256)": manifest.lock_sha256,
        "packages": ", ".join(f"{name} {version}" for name, version in manifest.packages.items()),
    }
    return {name: value for name, value in fields.items() if value}
