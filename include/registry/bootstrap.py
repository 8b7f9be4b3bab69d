"""How much better the challenger is, with bounds that hold at a given confidence; pure functions of a `Pair`.

The interval between the bounds contains the true gain in `confidence` of all samples of rows. That it is above 0 by
chance happens in half of the rest: with 0.95 in 2.5 % of all comparisons of equal models, as trials of drugs have it
(ICH E9, section 5.5). It comes from a paired bootstrap: rows are drawn with replacement, both models' answers together
(Efron 1979; Efron and Tibshirani 1993, An Introduction to the Bootstrap). Four things make it honest where rows are
few:

1. Quantiles are taken further out, as a t distribution is wider than a normal one: the expanded percentile interval
   of Hesterberg 2015 (The American Statistician 69).
2. There are two imagined rows, one in favour of each model: without them, two models that agree on 30 rows would seem
   to be equal for certain (Bonett and Price 2012, Journal of Educational and Behavioral Statistics 37). One model is
   right there; the other is wrong, or, for metrics of probabilities, knows no more than a coin.
3. A bound is beyond 0 only if an exact test agrees, which exchanges the two models' answers row by row: for accuracy
   that of McNemar (1947, Psychometrika 12), for the others Fisher's randomisation test by simulation, with one added
   to both counts (Phipson and Smyth 2010).
4. For ROC AUC ranks are exchanged: the models' probabilities need not be on one scale (Bandos, Rockette and Gur 2005,
   Statistics in Medicine 24).

The seed is fixed: the same data always have the same bounds.
"""

from typing import TYPE_CHECKING, NamedTuple

from include.registry import roc
from include.registry.paired import (
    AVERAGED,
    Pair,
    counted,
    counted_influence,
    roc_auc,
    row_values,
    scored_classes,
    value,
    wrong_classes,
)
from include.registry.resampling import chunks, generator, parts_of, samples_for, share

if TYPE_CHECKING:
    import numpy as np

    from include.registry.paired import Floats

ROC_EXACT = 400  # rows times classes, up to which the curves of each sample are computed
COUNTS_EXACT = 6_000  # different cells times classes, up to which the counts of each sample are drawn


class Bounds(NamedTuple):
    """Of the gain: positive where the challenger is better."""

    lower: float
    upper: float


class _Simulated(NamedTuple):
    """``gains`` of the bootstrap; the shares of exchanges that are at least as good, and as bad, as the data."""

    gains: "Floats"
    as_good: float
    as_bad: float


def bounds(pair: Pair, metric: str, confidence: float) -> Bounds:
    """Bounds of the challenger's gain.

    :param metric: without the part, such as ``accuracy``.
    :param confidence: of the interval, above 0.5; simulation ends at `resampling.LEAST_LEVEL` on either side.
    :return: NaN where the rows do not define the metric.
    """
    import numpy as np

    if len(pair) < 2:
        return Bounds(float("-inf"), float("inf"))
    level = (1 - confidence) / 2
    expanded = _expanded(level, len(pair))
    samples = samples_for(expanded)
    if metric == "roc_auc_ovr":
        simulated = _of_roc(pair, samples)
    elif metric in AVERAGED:
        losses = [row_values(metric, pair.rows, answers) for answers in (pair.champion, pair.challenger)]
        simulated = _of_mean(losses[0] - losses[1], _imagined_losses(pair, metric), samples)
    else:
        simulated = _of_accuracy(pair, samples) if metric == "accuracy" else _of_counts(pair, metric, samples)
    gains = simulated.gains[~np.isnan(simulated.gains)]
    if not len(gains):
        return Bounds(float("nan"), float("nan"))
    lower, upper = (float(one) for one in np.quantile(gains, [expanded, 1 - expanded]))
    if simulated.as_good > level:
        lower = min(lower, 0.0)
    if simulated.as_bad > level:
        upper = max(upper, 0.0)
    return Bounds(lower, upper)


def _expanded(level: float, rows: int) -> float:
    """The level of the quantile that a percentile interval needs to be as wide as a t interval."""
    from scipy.special import ndtr, stdtrit

    return float(ndtr(stdtrit(rows - 1, level) * (rows / (rows - 1)) ** 0.5))


def _imagined_losses(pair: Pair, metric: str) -> "tuple[Floats, Floats]":
    """Two rows: one model is right and certain, and for the other all classes are equally likely."""
    import numpy as np

    classes = pair.rows.actual_classes
    lost = np.log(classes) if metric == "log_loss" else 0.5 * (1 - 1 / classes)
    return np.array([lost, -lost]), np.ones(2)


def _of_mean(gains: "Floats", imagined: "tuple[Floats, Floats]", samples: int) -> _Simulated:
    """Of a metric that is the mean of a gain per row.

    :param gains: shape (rows,).
    :param imagined: further values and how many rows each stands for.
    """
    import numpy as np

    parts, random = parts_of(gains), generator()
    values = np.concatenate([parts.ones, imagined[0], [parts.mean]])
    weights = np.concatenate([parts.counts, imagined[1], [parts.middle]])
    total, sums = round(weights.sum()), []
    for size in chunks(len(values), samples):
        drawn = random.multinomial(total, weights / weights.sum(), size)
        sums.append(drawn @ values + parts.deviation * np.sqrt(drawn[:, -1]) * random.normal(size=size))
    return _Simulated(np.concatenate(sums) / total, *_exchanged(gains, random, samples))


def _exchanged(gains: "Floats", random: "np.random.Generator", samples: int) -> tuple[float, float]:
    """How often a mean is at least as large, and as small, where each row's gain has either sign."""
    import numpy as np

    parts, sums = parts_of(np.abs(gains)), []
    middle = (parts.middle * (parts.mean**2 + parts.deviation**2)) ** 0.5
    for size in chunks(len(parts.ones), samples):
        signs = 2 * random.binomial(parts.counts, 0.5, (size, len(parts.counts))) - parts.counts
        sums.append(signs @ parts.ones + middle * random.normal(size=size))
    observed, slack, found = gains.sum(), 1e-9 * np.abs(gains).sum(), np.concatenate(sums)
    return share(found >= observed - slack), share(found <= observed + slack)


def _of_accuracy(pair: Pair, samples: int) -> _Simulated:
    """Which depends on two numbers alone: the rows where only the challenger, and only the champion, is right."""
    from scipy.special import bdtrc

    right = [answers.predicted == pair.rows.actual for answers in (pair.champion, pair.challenger)]
    lost, won = int((right[0] & ~right[1]).sum()), int((right[1] & ~right[0]).sum())
    total = len(pair) + 2
    drawn = generator().multinomial(
        total, [(won + 1) / total, (lost + 1) / total, 1 - (won + lost + 2) / total], samples
    )
    differ = won + lost
    tests = [1.0 if not one else float(bdtrc(one - 1, differ, 0.5)) for one in (won, lost)]
    return _Simulated((drawn[:, 0] - drawn[:, 1]) / total, *tests)


def _of_counts(pair: Pair, metric: str, samples: int) -> _Simulated:
    """Of precision, recall and F1, which depend on how often each class, and what both models predict, meet."""
    import numpy as np

    size = len(pair.rows.classes)
    codes = (pair.rows.actual * size + pair.champion.predicted) * size + pair.challenger.predicted
    cells, counts = np.unique(codes, return_counts=True)
    if len(cells) * size > COUNTS_EXACT:
        return _by_influence(pair, metric, samples)
    imagined, masses = _imagined_cells(pair)
    both = np.concatenate([cells, imagined])
    weights = np.concatenate([counts, masses])
    features, total, random = _features(both, size), len(pair) + 2, generator()
    drawn = np.concatenate(
        [
            _gains(random.multinomial(total, weights / weights.sum(), part) @ features, metric, size)
            for part in chunks(len(both) + 5 * size, samples)
        ]
    )
    observed = _gains(counts[None, :] @ _features(cells, size), metric, size)[0]
    exchanged = np.concatenate(list(_exchanged_cells(cells, counts, metric, size, random, samples)))
    return _Simulated(drawn, share(exchanged >= observed - 1e-9), share(exchanged <= observed + 1e-9))


def _by_influence(pair: Pair, metric: str, samples: int) -> _Simulated:
    """Of the same, by the influence of each row, which leaves out terms of order 1/rows."""
    import numpy as np

    def of(champion: "np.ndarray", challenger: "np.ndarray", actual: "np.ndarray") -> "Floats":
        sides = ((pair.champion, champion), (pair.challenger, challenger))
        first, second = (counted_influence(metric, pair.rows, one, actual, codes) for one, codes in sides)
        return len(pair) * (second - first)

    observed = value(metric, pair.rows, pair.challenger) - value(metric, pair.rows, pair.champion)
    classes, wrong, shares = wrong_classes(pair.rows)
    imagined = np.concatenate([of(wrong, classes, classes), of(classes, wrong, classes)])
    gains = of(pair.champion.predicted, pair.challenger.predicted, pair.rows.actual) + observed
    return _of_mean(gains, (imagined, np.tile(shares, 2)), samples)


def _exchanged_cells(
    cells: "np.ndarray", counts: "np.ndarray", metric: str, size: int, random: "np.random.Generator", samples: int
) -> "list[Floats]":
    """Gains where the two models' predictions are exchanged in each row, or not, by chance."""
    import numpy as np

    base = counts[None, :] @ _features(cells, size)
    actual, first, second = cells // size**2, cells // size % size, cells % size
    differ = first != second
    if not differ.any():
        return [np.zeros(1)]
    mirrored = (actual * size + second) * size + first
    change = (_features(mirrored, size) - _features(cells, size))[differ]
    return [
        _gains(base + random.binomial(counts[differ], 0.5, (part, int(differ.sum()))) @ change, metric, size)
        for part in chunks(int(differ.sum()) + 5 * size, samples)
    ]


def _features(cells: "np.ndarray", size: int) -> "Floats":
    """What one row of each cell adds to the counts of each class: actual, predicted and hit by either model.

    :return: shape (cells, 5 * classes).
    """
    import numpy as np

    one_hot = np.eye(size)
    actual, first, second = (one_hot[codes] for codes in (cells // size**2, cells // size % size, cells % size))
    return np.concatenate([actual, first, actual * first, second, actual * second], axis=1)


def _gains(counts: "Floats", metric: str, size: int) -> "Floats":
    import numpy as np

    actual, first, first_hits, second, second_hits = np.split(counts, 5, axis=1)
    return counted(metric, actual, second, second_hits) - counted(metric, actual, first, first_hits)


def _imagined_cells(pair: Pair) -> "tuple[np.ndarray, Floats]":
    """Two rows, spread over the classes as the real ones are: one that each model alone gets right."""
    import numpy as np

    size = len(pair.rows.classes)
    classes, wrong, shares = wrong_classes(pair.rows)
    cells = [(classes * size + classes) * size + wrong, (classes * size + wrong) * size + classes]
    return np.concatenate(cells), np.tile(shares, 2)


def _of_roc(pair: Pair, samples: int) -> _Simulated:
    """Exactly for few rows; for many by the influence of each row, which leaves out terms of order 1/rows."""
    if len(pair) * pair.rows.actual_classes <= ROC_EXACT or not scored_classes(pair.rows):
        return _Simulated(*roc.simulated(pair, samples))
    influences = [roc_auc(pair.rows, answers) for answers in (pair.champion, pair.challenger)]
    observed = influences[1][0] - influences[0][0]
    gains = influences[1][1] - influences[0][1]
    return _of_mean(gains + observed, _imagined_influences(pair), samples)


def _imagined_influences(pair: Pair) -> "tuple[Floats, Floats]":
    """What a row of each class adds that one model ranks right and the other by a coin; and how many rows it is."""
    import numpy as np

    classes, _, shares = wrong_classes(pair.rows)
    share_of, curves = dict(zip(classes, shares, strict=True)), scored_classes(pair.rows)
    lost = [
        sum(1 / share_of[curve] if curve == actual else 1 / (1 - share_of[curve]) for curve in curves)
        for actual in classes
    ]
    extreme = np.array(lost) / 2 / len(curves)
    return np.concatenate([extreme, -extreme]), np.tile(shares, 2)
