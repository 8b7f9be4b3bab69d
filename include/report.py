"""The report of a run: one HTML file that needs nothing beside it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from include.lineage.differences import flat
from include.lineage.manifest import Manifest
from include.lineage.summary import summary
from include.stages.plots import PLOTS, read_table, svg
from include.store.stored_objects import StoredObjects

SHOWN_ELSEWHERE = ("run", "DAG", "Airflow", "packages", "warnings")  # in the template: heading, link, table, list
TEMPLATE = Path(__file__).with_name("report.html.jinja")


def render(manifest: Manifest, verdict: Mapping[str, Any] | None, objects: StoredObjects) -> str:
    """Write the report.

    :param verdict: of the gate, see `include.registry.gate.Verdict`; None: not evaluated.
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
        summary={name: value for name, value in summary(manifest).items() if name not in SHOWN_ELSEWHERE},
        config=flat(manifest.config),
        plots=_plots(manifest, objects),
    )


def _plots(manifest: Manifest, objects: StoredObjects) -> list[str]:
    """The figures as SVG."""
    md5s = {record.path: record.md5 for record in manifest.outputs}
    files = {plot: plot.file(manifest.config["paths"]["plots"]) for plot in PLOTS}
    return [
        svg(plot.figure(read_table(objects.read(file, md5)))) for plot, file in files.items() if (md5 := md5s.get(file))
    ]


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"
