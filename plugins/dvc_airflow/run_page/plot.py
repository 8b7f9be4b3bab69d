"""Lines of values over runs, as the numbers that an SVG is drawn from."""

from collections.abc import Sequence
from dataclasses import dataclass

WIDTH, HEIGHT = 900, 180
LEFT, RIGHT, TOP, BOTTOM = 70, 15, 12, 24  # margins, for the labels


@dataclass(frozen=True)
class Value:
    """What a run has to show, if anything; ``series`` says with which other runs a line joins it."""

    run_id: str
    value: float | None
    marked: bool = False
    series: str = ""


@dataclass(frozen=True)
class Point:
    """A run in the plot."""

    x: float
    y: float
    value: float
    run_id: str
    marked: bool


@dataclass(frozen=True)
class Series:
    """Runs that a line joins, the oldest first."""

    name: str
    points: Sequence[Point]

    @property
    def line(self) -> str:
        """The points as SVG's ``polyline`` takes them."""
        return " ".join(f"{point.x:g},{point.y:g}" for point in self.points)


@dataclass(frozen=True)
class Plot:
    """``ticks`` are the labels of the vertical axis with their heights."""

    series: Sequence[Series]
    ticks: Sequence[tuple[float, str]]


def plot(values: Sequence[Value]) -> Plot | None:
    """Lay out a plot.

    :param values: of the runs, the oldest first.
    :return: None if no run has a value.
    """
    numbers = [one.value for one in values if one.value is not None]
    if not numbers:
        return None
    low, high = min(numbers), max(numbers)
    margin = (high - low) * 0.1 or abs(high) * 0.1 or 1.0
    bottom, top = low - margin, high + margin
    step = (WIDTH - LEFT - RIGHT) / max(len(values) - 1, 1)

    def height(value: float) -> float:
        return round(TOP + (top - value) / (top - bottom) * (HEIGHT - TOP - BOTTOM), 1)

    series: dict[str, list[Point]] = {}
    for number, one in enumerate(values):
        if one.value is not None:
            at = round(LEFT + number * step, 1)
            series.setdefault(one.series, []).append(Point(at, height(one.value), one.value, one.run_id, one.marked))
    return Plot(
        [Series(*both) for both in series.items()],
        [(height(value), f"{value:.4g}") for value in dict.fromkeys((high, low))],
    )
