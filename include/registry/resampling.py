"""What the simulations of the gate share: how many samples, how large a part of them at a time, and which seed."""

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import numpy as np

    from include.registry.paired import Floats, Integers

SAMPLES = 10_000
MOST_SAMPLES = 100_000
BEYOND = 20  # samples that have to lie beyond a bound, or it would be a matter of one or two of them
LEAST_LEVEL = BEYOND / MOST_SAMPLES  # of what simulation can show
SEED = 20_261_128
NUMBERS = 4_000_000  # of a part of the samples: 32 MB
EXACT = 600  # values that are drawn one by one
ENDS = 100  # of more values, that many at either end are still drawn one by one


def generator() -> "np.random.Generator":
    """The same random numbers each time."""
    import numpy as np

    return np.random.default_rng(SEED)


def share(hits: "np.ndarray") -> float:
    """The share of simulated cases that hit, with the data themselves as one of them (Phipson and Smyth 2010)."""
    return float((hits.sum() + 1) / (len(hits) + 1))


def samples_for(level: float) -> int:
    """How many samples a quantile at that level needs: the usual number, or more where it lies far out."""
    return max(SAMPLES, math.ceil(BEYOND / max(level, LEAST_LEVEL)))


def chunks(width: int, samples: int) -> Iterator[int]:
    """How many samples to draw at a time.

    :param width: numbers of a sample.
    :param samples: to be drawn in all.
    """
    at_once = max(1, min(samples, NUMBERS // max(1, width)))
    for start in range(0, samples, at_once):
        yield min(at_once, samples - start)


class Parts(NamedTuple):
    """Values to draw from. ``ones`` are drawn one by one, and each stands for ``counts`` rows.

    Of ``middle`` others only their mean and standard deviation count: so many draws of values that are bounded on both
    sides add up to a normal distribution.
    """

    ones: "Floats"
    counts: "Integers"
    middle: int
    mean: float
    deviation: float


def parts_of(values: "Floats") -> Parts:
    """All values one by one where few of them differ, else the `ENDS` smallest and largest.

    :param values: shape (rows,).
    """
    import numpy as np

    different, counts = np.unique(values, return_counts=True)
    if len(different) <= EXACT:
        return Parts(different, counts, 0, 0.0, 0.0)
    ordered = np.sort(values)
    middle, ends = ordered[ENDS:-ENDS], np.concatenate([ordered[:ENDS], ordered[-ENDS:]])
    return Parts(ends, np.ones(2 * ENDS, dtype=int), len(middle), float(middle.mean()), float(middle.std()))
