"""The gate's interval of each metric on many rows: 10,000 samples of 100,000 rows."""

import numpy as np

from include.registry.bootstrap import bounds
from tests.bench.bench import RUNS, Bench
from tests.bench.report import ratios, timed
from tests.support.pairs import METRICS, drawn

ROWS = 100_000


def gate(bench: Bench) -> None:
    """Seconds per metric, for few and for many classes; and as a multiple of scoring both models by scikit-learn."""
    from sklearn.metrics import log_loss

    for classes in (3, 26):
        pair = drawn(np.random.default_rng(0), ROWS, classes, (2, 2.05))
        models = (pair.champion, pair.challenger)
        by_hand = [
            timed(lambda: [log_loss(pair.rows.actual, model.probabilities) for model in models])  # noqa: B023
            for _ in range(RUNS)
        ]
        slowest = [0.0] * RUNS
        for metric in METRICS:
            seconds = [timed(lambda: bounds(pair, metric, 0.95)) for _ in range(RUNS)]  # noqa: B023
            bench.report.add(f"interval of {metric}, {ROWS:,} rows of {classes} classes", seconds, "s")
            slowest = [max(both) for both in zip(slowest, seconds, strict=True)]
        bench.report.add(f"gate: the slowest interval, {ROWS:,} rows of {classes} classes", slowest, "s")
        bench.report.add(f"gate: that / log loss by scikit-learn, {classes} classes", ratios(slowest, by_hand), "ratio")
