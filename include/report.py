"""The report of a run: one HTML file that needs nothing beside it."""

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from include.lineage.compare import flat
from include.lineage.manifest import Manifest
from include.lineage.objects import StoredObjects

TEMPLATE = Path(__file__).with_name("report.html.jinja")


def render(manifest: Manifest, verdict: Mapping[str, Any] | None, objects: StoredObjects) -> str:
    """Write the report.

    :param verdict: of the gate, see `include.gate.Verdict`; None: not judged.
    :param objects: where the tables are that the plots show.
    :raises DataError: one of these is gone from the store.
    """
    from jinja2 import Environment

    # Escaped whatever it is: names and values come from users.
    environment = Environment(autoescape=True)
    environment.filters["number"] = _number
    template = environment.from_string(TEMPLATE.read_text(encoding="utf-8"))
    return template.render(
        manifest=manifest,
        verdict=verdict,
        summary=_summary(manifest),
        config=flat(manifest.config),
        plots=_plots(manifest, objects),
    )


def _summary(manifest: Manifest) -> dict[str, Any]:
    run, model = manifest.airflow, manifest.model
    facts = {
        "started": run.started_at,
        "logical date": run.logical_date,
        "triggered by": run.triggered_by,
        "code": manifest.code,
        "dvc.lock (SHA-256)": manifest.lock_sha256,
        "data": f"{manifest.config['data']['source']} (version {manifest.config['data']['version'] or 'built-in'})",
        "MLflow run": manifest.mlflow_run["run_id"],
        "model": f"{model.name} version {model.version}" if model else None,
    }
    return {name: value for name, value in facts.items() if value}


def _plots(manifest: Manifest, objects: StoredObjects) -> list[str]:
    import pandas as pd

    from include.stages import figures

    paths = manifest.config["paths"]
    drawn = []
    for name, draw in (
        ("confusion_matrix", figures.confusion_matrix),
        ("roc_curve", figures.roc_curve),
        ("coefficients", figures.coefficients),
    ):
        if name in paths and (md5 := manifest.md5_of(name)):
            drawn.append(figures.svg(draw(pd.read_csv(io.BytesIO(objects.read(paths[name], md5))))))
    return drawn


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"
