"""ROC AUC of many samples of a few rows, without a term left out."""

from typing import TYPE_CHECKING

from include.registry.paired import Pair, midranks, scored_classes, wrong_classes
from include.registry.resampling import chunks, generator, share

if TYPE_CHECKING:
    import numpy as np

    from include.registry.paired import Floats

BOTTOM, TOP = -1.0, 2.0  # beyond all probabilities


def simulated(pair: Pair, samples: int) -> "tuple[Floats, float, float]":
    """Bootstrapped gains; the shares of exchanges that are at least as good, and as bad, as the data.

    See `include.registry.bootstrap`.
    """
    import numpy as np

    classes, random = scored_classes(pair.rows), generator()
    if not classes:
        return np.array([np.nan]), 1.0, 1.0
    actual, first, second, weights = _with_imagined(pair)
    sides = [[_Curve(actual == one, scores[:, one]) for one in classes] for scores in (first, second)]
    total = len(pair) + 2
    gains = np.concatenate(
        [
            _gain(sides, random.multinomial(total, weights / weights.sum(), size).astype(float))
            for size in chunks(4 * len(weights), samples)
        ]
    )
    good, bad = _exchanges(pair, classes, random, samples)
    return gains, good, bad


class _Curve:
    """The area under one curve for any weights of the rows."""

    def __init__(self, positive: "np.ndarray", scores: "Floats") -> None:
        import numpy as np

        self.order = np.argsort(scores, kind="stable")
        ordered = scores[self.order]
        self.positive = positive[self.order]
        self.starts = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]))

    def area(self, weights: "Floats") -> "Floats":
        """:param weights: shape (samples, rows).
        :return: shape (samples,); NaN where a sample lacks one of the two kinds.
        """
        import numpy as np

        ordered = weights[:, self.order]
        ones = np.add.reduceat(ordered * self.positive, self.starts, axis=1)
        others = np.add.reduceat(ordered * ~self.positive, self.starts, axis=1)
        below = np.cumsum(others, axis=1) - others / 2
        pairs = ones.sum(axis=1) * others.sum(axis=1)
        return np.asarray(
            np.divide((ones * below).sum(axis=1), pairs, out=np.full(len(pairs), np.nan), where=pairs > 0)
        )


def _gain(sides: list[list[_Curve]], weights: "Floats") -> "Floats":
    import numpy as np

    first, second = (np.stack([curve.area(weights) for curve in curves]) for curves in sides)
    defined = ~np.isnan(first)
    sums = np.where(defined, second - first, 0.0).sum(axis=0)
    return np.asarray(np.divide(sums, defined.sum(axis=0), out=np.full(sums.shape, np.nan), where=defined.any(axis=0)))


def _exchanges(pair: Pair, classes: list[int], random: "np.random.Generator", samples: int) -> tuple[float, float]:
    """By ranks within each model, of which each row keeps its own or takes the other model's."""
    import numpy as np

    actual, rows = pair.rows.actual, len(pair)
    curves = [
        _Curve(
            np.tile(actual == one, 2),
            np.concatenate([midranks(answers.probabilities[:, one]) for answers in (pair.champion, pair.challenger)]),
        )
        for one in classes
    ]

    def gain(kept: "Floats") -> "Floats":
        own, other = np.concatenate([kept, 1 - kept], axis=1), np.concatenate([1 - kept, kept], axis=1)
        return np.asarray(np.mean([curve.area(other) - curve.area(own) for curve in curves], axis=0))

    observed = gain(np.ones((1, rows)))[0]
    found = np.concatenate(
        [gain(random.integers(0, 2, (size, rows)).astype(float)) for size in chunks(8 * rows, samples)]
    )
    return share(found >= observed - 1e-9), share(found <= observed + 1e-9)


def _with_imagined(pair: Pair) -> "tuple[np.ndarray, Floats, Floats, Floats]":
    """The rows and two more, spread over the classes: one that each model alone ranks right, and the other by a coin.

    :return: the classes, both models' scores, and how many rows each stands for.
    """
    import numpy as np

    classes, _, shares = wrong_classes(pair.rows)
    right = np.where(np.eye(pair.rows.actual_classes)[classes] == 1, TOP, BOTTOM)
    first, second = pair.champion.probabilities, pair.challenger.probabilities
    middles = [_middles(pair.rows.actual, classes, scores) for scores in (first, second)]
    return (
        np.concatenate([pair.rows.actual, classes, classes]),
        np.concatenate([first, middles[0], right]),
        np.concatenate([second, right, middles[1]]),
        np.concatenate([np.ones(len(pair)), shares, shares]),
    )


def _middles(actual: "np.ndarray", classes: "np.ndarray", scores: "Floats") -> "Floats":
    """For a row of each class, the scores that put it amid the rows of the other kind; shape as that of `scores`."""
    import numpy as np

    columns = range(scores.shape[1])
    middles = {
        (kind, one): np.median(scores[(actual == one) == kind, one]) for one in classes for kind in (True, False)
    }
    return np.array([[middles.get((one != own, one), BOTTOM) for one in columns] for own in classes])
