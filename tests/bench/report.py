"""The measures of a benchmark, and what the project wants to reach."""

import json
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tests.support.copies import ROOT

RESULTS = ROOT / "build" / "bench"
# measure -> the most that it should be
TARGETS = {
    "cold run / dvc repro && dvc push": 0.6,
    "unchanged tasks / hand-written tasks": 0.5,
    "restored stage": 1.0,
    "look-up with 10,000 / with 10 entries": 1.2,
    "gate: the slowest interval, 100,000 rows of 3 classes": 5.0,
    "gate: the slowest interval, 100,000 rows of 26 classes": 5.0,
    "backfill cold / loop of dvc repro": 0.6,
    "backfill repeated / cold loop of dvc repro": 0.15,
    "peers' job, cold: this project / kedro-airflow": 1.0,
    "peers' job, C changed: this project / kedro-airflow": 0.85,
    "peers' job, unchanged: this project / kedro-airflow": 0.7,
    "memory of the warm server (PSS)": 350,
    "repeated run / no-op run, wall": 1.5,
    "repeated run / no-op run, CPU": 2.0,
    "parsing 300 stages, above an empty file": 0.3,
    "csv: the stages / the script": 1.5,
    "parquet: the stages / the script": 1.5,
    "csv: peak memory / the table's own": 4.0,
    "parquet: peak memory / the table's own": 4.0,
    "first page of `runs` over 1,000 runs": 1.0,
}


class Report:
    """Collects the measures, and writes them after each, so that a run that is cut short leaves what it has."""

    def __init__(self) -> None:
        self.measures: dict[str, dict[str, Any]] = {}
        RESULTS.mkdir(parents=True, exist_ok=True)

    def add(self, name: str, values: Sequence[float], unit: str) -> float:
        """:return: the median."""
        median = statistics.median(values)
        self.measures[name] = {
            "median": round(median, 3),
            "min": round(min(values), 3),
            "max": round(max(values), 3),
            "runs": len(values),
            "unit": unit,
        }
        print(f"{name}: {median:.3f} {unit} ({min(values):.3f} to {max(values):.3f}, {len(values)} runs)", flush=True)
        (RESULTS / "results.json").write_text(json.dumps(self.measures, indent=2) + "\n")
        return median

    def table(self) -> str:
        """The measures as Markdown, with the targets."""
        lines = ["| measure | median | min | max | runs | unit | at most |", "|---|---|---|---|---|---|---|"]
        for name, one in self.measures.items():
            target = TARGETS.get(name, "")
            row = [name, *(one[key] for key in ("median", "min", "max", "runs", "unit")), target]
            lines.append(f"| {' | '.join(map(str, row))} |")
        return "\n".join(lines) + "\n"

    def plot(self, file: Path) -> None:
        """Each measure that has a target, as a share of it."""
        from matplotlib.figure import Figure

        shares = {name: one["median"] / TARGETS[name] for name, one in self.measures.items() if name in TARGETS}
        figure = Figure(figsize=(9, 4), layout="constrained")
        axes = figure.subplots()
        axes.barh(
            list(shares), list(shares.values()), color=["C0" if share <= 1 else "C3" for share in shares.values()]
        )
        axes.axvline(1.0, color="black", linestyle="--")
        axes.set_xlabel("share of what it should be at most (dashed: the limit)")
        axes.invert_yaxis()
        figure.savefig(file, dpi=120)


def timed(work: Callable[[], Any]) -> float:
    """Seconds of wall time."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def ratios(ones: Sequence[float], others: Sequence[float]) -> list[float]:
    """Run by run."""
    return [one / other for one, other in zip(ones, others, strict=True)]
