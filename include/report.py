"""The report of a run: one HTML file that needs nothing beside it."""

import hashlib
import os
import time
from collections.abc import Mapping
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

from include.lineage.differences import flat
from include.lineage.manifest import Manifest
from include.lineage.summary import summary
from include.registry.gate import confidence_in_words
from include.stages import plots
from include.stages.files import write_bytes
from include.stages.plots import PLOTS, Plot, read_table, svg
from include.store.stored_objects import StoredObjects

SHOWN_ELSEWHERE = ("run", "DAG", "Airflow", "packages", "warnings")  # in the template: heading, link, table, list
UNUSED_SECONDS = 30 * 24 * 3600  # after which a figure that is kept goes
TEMPLATE = Path(__file__).with_name("report.html.jinja")


def render(
    manifest: Manifest, verdict: Mapping[str, Any] | None, objects: StoredObjects, kept: Path | None = None
) -> str:
    """Write the report.

    :param verdict: of the gate, see `include.registry.gate.Verdict`; None: not evaluated.
    :param objects: where the tables are that the plots show.
    :param kept: a folder where figures are kept: to draw one takes longer than all else.
    :raises DataError: one of these is gone from the store.
    """
    from jinja2 import Environment

    # Escaped whatever it is: names and values come from users.
    environment = Environment(autoescape=True)
    environment.filters |= {"number": _number, "confidence": confidence_in_words}
    template = environment.from_string(TEMPLATE.read_text(encoding="utf-8"))
    return template.render(
        manifest=manifest,
        verdict=verdict,
        summary={name: value for name, value in summary(manifest).items() if name not in SHOWN_ELSEWHERE},
        config=flat(manifest.config),
        plots=_figures(manifest, objects, kept),
    )


def _figures(manifest: Manifest, objects: StoredObjects, kept: Path | None) -> list[str]:
    """As SVG."""
    md5s = {record.path: record.md5 for record in manifest.outputs}
    files = {plot: plot.file(manifest.config["paths"]["plots"]) for plot in PLOTS}
    return [_figure(plot, objects.read(file, md5), kept) for plot, file in files.items() if (md5 := md5s.get(file))]


def _figure(plot: Plot, table: bytes, kept: Path | None) -> str:
    """The figure of a table, as it was drawn before if one is kept of the same table, code and libraries."""
    if kept is None:
        return svg(plot.figure(read_table(table)))
    drawn_by = [Path(plots.__file__).read_bytes(), version("matplotlib").encode()]
    file = kept / f"{hashlib.sha256(b'|'.join([plot.name.encode(), *drawn_by, table])).hexdigest()}.svg"
    with suppress(OSError, UnicodeDecodeError):
        figure = file.read_text(encoding="utf-8")
        with suppress(OSError):  # it is read-only
            os.utime(file)  # it is in use: see `_remove_unused`
        return figure
    drawn = svg(plot.figure(read_table(table)))
    with suppress(OSError):  # a cache that is full or read-only keeps none
        _remove_unused(kept)
        write_bytes(file, drawn.encode())
    return drawn


def _remove_unused(kept: Path) -> None:
    """Remove the figures that no report has shown for a long time."""
    for file in kept.iterdir() if kept.is_dir() else ():
        with suppress(OSError):  # another process removes it too
            if time.time() - file.stat().st_mtime > UNUSED_SECONDS:
                file.unlink()


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"
