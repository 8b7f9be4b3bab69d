"""A line of values over runs, as the numbers that an SVG is drawn from."""

from collections.abc import Sequence
from dataclasses import dataclass

WIDTH, HEIGHT = 900, 180
LEFT, RIGHT, TOP, BOTTOM = 70, 15, 12, 24  # margins, for the labels


@dataclass(frozen=True)
class Point:
    """A run in the plot."""

    x: float
    y: float
    value: float
    run_id: str
    marked: bool


@dataclass(frozen=True)
class Plot:
    """``ticks`` are the labels of the vertical axis with their heights; ``points`` have the oldest run first."""

    points: Sequence[Point]
    ticks: Sequence[tuple[float, str]]

    @property
    def line(self) -> str:
        """The points as SVG's ``polyline`` takes them."""
        return " ".join(f"{point.x:g},{point.y:g}" for point in self.points)


def plot(values: Sequence[tuple[str, float | None, bool]]) -> Plot | None:
    """Lay out a plot.

    :param values: run id, value (None: it has none) and whether it is marked; the oldest run first.
    :return: None if no run has a value.
    """
    numbers = [value for _, value, _ in values if value is not None]
    if not numbers:
        return None
    low, high = min(numbers), max(numbers)
    margin = (high - low) * 0.1 or abs(high) * 0.1 or 1.0
    bottom, top = low - margin, high + margin
    step = (WIDTH - LEFT - RIGHT) / max(len(values) - 1, 1)

    def height(value: float) -> float:
        return round(TOP + (top - value) / (top - bottom) * (HEIGHT - TOP - BOTTOM), 1)

    points = [
        Point(round(LEFT + number * step, 1), height(value), value, run_id, marked)
        for number, (run_id, value, marked) in enumerate(values)
        if value is not None
    ]
    return Plot(points, [(height(value), f"{value:.4g}") for value in dict.fromkeys((high, low))])
