"""The bounds of a gain: the metrics they are of, their exact cases, and how often they are wrong."""

import numpy as np
import pytest
from sklearn import metrics

from include.registry import bootstrap, resampling
from include.registry.bootstrap import bounds
from include.registry.paired import Pair, Rows, better_by, roc_auc, value
from tests.support.pairs import METRICS, drawn, labelled


@pytest.fixture
def few_samples(monkeypatch):
    """Enough to count how often bounds are wrong."""
    monkeypatch.setattr(bootstrap, "samples_for", lambda _level: 500)


def gain(pair: Pair, metric: str) -> float:
    return better_by(metric, *(value(metric, pair.rows, one) for one in (pair.challenger, pair.champion)))


@pytest.mark.parametrize(("rows", "classes"), [(30, 3), (31, 2), (200, 5)])
def test_metrics_are_those_of_scikit_learn(rows, classes):
    pair = drawn(np.random.default_rng(rows), rows, classes)
    actual, answers = pair.rows.actual, pair.challenger
    chances = answers.probabilities
    macro = metrics.precision_recall_fscore_support(actual, answers.predicted, average="macro", zero_division=0)
    wanted = {
        "accuracy": metrics.accuracy_score(actual, answers.predicted),
        **dict(zip(("precision_macro", "recall_macro", "f1_macro"), macro, strict=False)),
        "roc_auc_ovr": metrics.roc_auc_score(actual, chances[:, 1] if classes == 2 else chances, multi_class="ovr"),
        "log_loss": metrics.log_loss(actual, chances),
        "brier": metrics.brier_score_loss(actual, chances, scale_by_half=True),
    }

    assert {metric: value(metric, pair.rows, answers) for metric in METRICS} == pytest.approx(wanted)


def test_three_rows_that_all_speak_for_the_challenger_show_nothing():
    """A plain bootstrap rules out that it is worse; McNemar's exact test has a p of 1/8."""
    pair = labelled("ab" * 15, "bab" + ("ab" * 15)[3:], "ab" * 15)
    right = [answers.predicted == pair.rows.actual for answers in (pair.champion, pair.challenger)]
    random = np.random.default_rng(0)
    rows = random.integers(0, 30, (10_000, 30))
    plain = np.quantile((right[1].astype(int) - right[0])[rows].mean(axis=1), 0.025)

    found = bounds(pair, "accuracy", 0.95)

    assert gain(pair, "accuracy") == pytest.approx(0.1)
    assert plain >= 0 > found.lower
    assert found.upper > 0.1


@pytest.mark.parametrize(("won", "shown"), [(5, False), (6, True)])
def test_accuracy_is_shown_better_when_mcnemars_exact_test_says_so(won, shown):
    """1/2^5 is more than 2.5 %, 1/2^6 less."""
    pair = labelled("a" * 20 + "b" * 20, "b" * won + "a" * (20 - won) + "b" * 20, "a" * 20 + "b" * 20)

    assert (bounds(pair, "accuracy", 0.95).lower > 0) == shown


@pytest.mark.parametrize("metric", ["brier", "log_loss"])
@pytest.mark.parametrize(("won", "shown"), [(4, False), (8, True)])
def test_a_few_rows_with_a_large_gain_are_not_shown_unless_the_exchange_of_answers_agrees(metric, won, shown):
    """1/2^4 of the exchanges are as good as the data, though few samples of the rows are without such a row."""
    pair = labelled("ab" * 15, "ba" * (won // 2) + "ab" * (15 - won // 2), "ab" * 15)

    for sides in (pair, Pair(pair.rows, pair.challenger, pair.champion)):
        found = bounds(sides, metric, 0.95)
        assert (found.lower > 0 or found.upper < 0) == shown


@pytest.mark.parametrize("metric", METRICS)
def test_models_that_agree_on_all_rows_are_not_equal_for_certain(metric):
    widths = []
    for rows in (30, 3000):
        pair = labelled("ab" * (rows // 2), "ab" * (rows // 2), "ab" * (rows // 2))
        found = bounds(pair, metric, 0.95)
        assert found.lower < 0 < found.upper
        widths.append(found.upper - found.lower)

    assert widths[1] < widths[0] / 5


@pytest.mark.parametrize("metric", METRICS)
def test_exchanging_the_models_mirrors_the_bounds_and_the_same_data_have_the_same(metric):
    pair = drawn(np.random.default_rng(5), 60, skills=(1.6, 2.2))
    mirrored = Pair(pair.rows, pair.challenger, pair.champion)

    found, other = bounds(pair, metric, 0.95), bounds(mirrored, metric, 0.95)

    assert found == bounds(pair, metric, 0.95)
    assert [-other.upper, -other.lower] == pytest.approx(found, abs=0.01)
    assert found.lower <= gain(pair, metric) <= found.upper


@pytest.mark.parametrize(
    ("metric", "rows", "pairs"),
    [
        *((metric, 30, 1000) for metric in ("accuracy", "f1_macro", "log_loss")),
        *((metric, 30, 200) for metric in ("precision_macro", "recall_macro", "roc_auc_ovr", "brier")),
        *((metric, 300, 200) for metric in ("accuracy", "f1_macro", "log_loss")),
    ],
)
def test_of_equally_good_models_at_most_the_nominal_share_is_shown_better(few_samples, metric, rows, pairs):
    random = np.random.default_rng(rows)

    found = [bounds(drawn(random, rows), metric, 0.95) for _ in range(pairs)]

    assert sum(one.lower > 0 for one in found) <= 0.05 * pairs
    assert sum(one.upper < 0 for one in found) <= 0.05 * pairs


@pytest.mark.parametrize("metric", ["accuracy", "f1_macro", "log_loss"])
def test_the_true_gain_is_within_the_bounds_as_often_as_they_say(few_samples, metric):
    random, skills = np.random.default_rng(8), (1.9, 2.3)
    truth = gain(drawn(np.random.default_rng(9), 200_000, skills=skills), metric)

    found = [bounds(drawn(random, 100, skills=skills), metric, 0.95) for _ in range(200)]

    inside = sum(one.lower <= truth <= one.upper for one in found)
    assert inside >= 0.93 * 200
    assert sum(one.lower > 0 for one in found) > 0.2 * 200  # and they are of use


@pytest.mark.parametrize(("metric", "limit"), [("f1_macro", "COUNTS_EXACT"), ("roc_auc_ovr", "ROC_EXACT")])
def test_the_short_way_for_many_rows_agrees_with_the_exact_one(monkeypatch, few_samples, metric, limit):
    pair = drawn(np.random.default_rng(2), 900, skills=(2, 2.2))
    both = []
    for exact_up_to in (0, 10**9):
        monkeypatch.setattr(bootstrap, limit, exact_up_to)
        both.append(bounds(pair, metric, 0.95))

    width = both[1].upper - both[1].lower
    assert both[0] == pytest.approx(both[1], abs=0.08 * width)


def test_many_values_are_drawn_as_the_bootstrap_draws_them():
    losses = np.random.default_rng(0).lognormal(sigma=1.5, size=3000) - 3
    random = np.random.default_rng(1)
    plain = [losses[random.integers(0, 3000, 3000)].mean() for _ in range(5000)]

    found = bootstrap._of_mean(losses, (np.zeros(1), np.zeros(1)), 10_000).gains

    assert resampling.parts_of(losses).middle == 3000 - 2 * resampling.ENDS
    assert found.mean() == pytest.approx(losses.mean(), abs=0.05 * np.std(plain))
    wanted = np.quantile(plain, [0.025, 0.5, 0.975])
    assert np.quantile(found, [0.025, 0.5, 0.975]) == pytest.approx(wanted, abs=0.1 * np.std(plain))


@pytest.mark.parametrize("metric", ["f1_macro", "log_loss", "roc_auc_ovr"])
def test_a_difference_that_is_beyond_doubt_is_shown_at_the_smallest_level_there_is(metric):
    pair = labelled("abc" * 40, "bca" * 20 + "abc" * 20, "abc" * 40)

    assert bounds(pair, metric, 1 - 2 * resampling.LEAST_LEVEL).lower > 0


def test_a_smaller_level_takes_more_samples_up_to_a_limit():
    assert [resampling.samples_for(level) for level in (0.025, 0.001, 0.0002, 0.0)] == [
        10_000,
        20_000,
        100_000,
        100_000,
    ]


def test_rows_of_one_class_have_no_roc_curve():
    pair = labelled("aab", "aab", "aab").at(np.array([True, True, False]))

    area, influence = roc_auc(pair.rows, pair.champion)

    assert np.isnan(area)
    assert not influence.any()
    assert np.isnan(bounds(pair, "roc_auc_ovr", 0.95)).all()


def test_one_row_shows_nothing():
    pair = labelled("ab", "ab", "aa").at(np.array([True, False]))

    assert bounds(pair, "accuracy", 0.95) == (float("-inf"), float("inf"))
    assert len(Rows(("a",), 1, np.array([0]))) == 1
