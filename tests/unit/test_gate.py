"""The gate's rules, on numbers alone."""

import json
import math

import numpy as np
import pytest

from include.errors import ConfigError
from include.registry.evidence import Evidence
from include.registry.gate import Verdict, evaluate, why_not_champion
from include.registry.paired import value
from include.registry.slices import Group
from include.registry.warnings import warnings_of
from include.settings import RegistryConfig
from include.settings.config_file import validate_config
from tests.support.pairs import labelled


def rule(**values) -> RegistryConfig:
    return RegistryConfig(**{"model_name": "m", "metric": "test_accuracy", "minimum": 0.9, **values})


def passed(checks) -> list[bool]:
    return [check.passed for check in checks]


@pytest.mark.parametrize(("value", "wanted"), [(0.9, True), (0.95, True), (0.8999, False)])
def test_without_a_champion_the_minimum_alone_counts(value, wanted):
    (check,) = evaluate(rule(), {"test_accuracy": value}, None)

    assert (check.passed, check.champion, check.rule) == (wanted, None, "at least 0.9")


@pytest.mark.parametrize(
    ("challenger", "champion", "min_gain", "wanted"),
    [
        (0.93, 0.9, 0.03, True),  # 0.93 - 0.9 is 0.030000000000000027 in floats
        (0.9, 0.87, 0.03, True),
        (0.95, 0.93, 0.03, False),
        (0.92, 0.93, 0.0, False),
    ],
)
def test_a_challenger_must_be_better_by_the_gain(challenger, champion, min_gain, wanted):
    checks = evaluate(rule(min_gain=min_gain), {"test_accuracy": challenger}, {"test_accuracy": champion})

    assert passed(checks) == [True, wanted]
    assert checks[1].change == challenger - champion


@pytest.mark.parametrize(("newer", "wanted"), [(True, True), (False, False)])
def test_a_tie_goes_to_the_newer_version(newer, wanted):
    checks = evaluate(rule(), {"test_accuracy": 0.95}, {"test_accuracy": 0.95}, newer=newer)

    assert passed(checks) == [True, wanted]


def test_an_older_version_that_is_better_passes():
    assert all(passed(evaluate(rule(), {"test_accuracy": 0.96}, {"test_accuracy": 0.95}, newer=False)))


@pytest.mark.parametrize(("f1", "wanted"), [(0.90, True), (0.88, True), (0.879, False)])
def test_a_further_metric_must_not_be_worse_by_more_than_its_tolerance(f1, wanted):
    tolerant = rule(tolerances={"test_f1_macro": 0.02})
    champion = {"test_accuracy": 0.95, "test_f1_macro": 0.90}

    checks = evaluate(tolerant, {"test_accuracy": 0.96, "test_f1_macro": f1}, champion)

    assert passed(checks) == [True, True, wanted]


@pytest.mark.parametrize(("loss", "wanted"), [(0.2, [True, True]), (0.35, [True, False]), (0.6, [False, False])])
def test_where_lower_is_better_the_minimum_is_an_upper_limit_and_a_gain_is_a_fall(loss, wanted):
    lower = rule(metric="test_log_loss", minimum=0.5, min_gain=0.05)

    assert passed(evaluate(lower, {"test_log_loss": loss}, {"test_log_loss": 0.3})) == wanted


def test_a_lower_tolerance_counts_upwards():
    tolerant = rule(tolerances={"test_log_loss": 0.1})

    checks = evaluate(
        tolerant,
        {"test_accuracy": 0.96, "test_log_loss": 0.5},
        {"test_accuracy": 0.95, "test_log_loss": 0.3},
    )

    assert passed(checks) == [True, True, False]


def test_the_table_has_a_line_per_rule():
    checks = evaluate(rule(min_gain=0.01), {"test_accuracy": 0.95}, {"test_accuracy": 0.9})
    verdict = Verdict("2", True, "champion", "1", "2", "scored on the same test rows", checks)

    assert verdict.table().splitlines() == [
        "metric         champion  challenger  change   rule            passed",
        "test_accuracy  -         0.9500      -        at least 0.9    yes",
        "test_accuracy  0.9000    0.9500      +0.0500  better by 0.01  yes",
    ]


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("minimum", 1.5, "registry.minimum: test_accuracy is never above 1"),
        ("min_gain", -0.1, "registry.min_gain"),
        ("tolerances", {"test_f2": 0.1}, "registry.tolerances"),
        ("tolerances", {"test_f1_macro": -0.1}, "registry.tolerances"),
        ("approval", "maybe", "registry.approval"),
        ("confidence", 1, "registry.confidence: must be above 0.5 and at most 0.999, such as 0.95"),
        ("confidence", 0.9999, "registry.confidence: must be above 0.5 and at most 0.999"),
        ("confidence", 0, "registry.confidence: must be above 0.5"),
        ("confidence", 95, r"registry.confidence: must be .* \(got 95\). Fix it there"),
        ("confidence", "high", "registry.confidence: Input should be a valid number"),
        ("evidence", "strong", "registry.evidence: Input should be 'not_shown_worse'"),
        ("margin", math.inf, "registry.margin: Input should be a finite number"),
        ("minimum", math.nan, "registry.minimum: Input should be a finite number"),
        (
            "tolerances",
            {"test_f1_macro": math.inf},
            "registry.tolerances.test_f1_macro: Input should be a finite number",
        ),
        ("margin", 0, "registry.margin: Input should be greater than 0"),
        (
            "min_gain",
            0.01,
            "registry.min_gain: a gain of 0.01 has to be shown, but registry.evidence is not_shown_worse",
        ),
    ],
)
def test_a_rule_that_makes_no_sense_is_refused_with_its_key(config_document, key, value, message):
    config_document["registry"][key] = value

    with pytest.raises(ConfigError, match=message):
        validate_config(config_document)


def test_evidence_needs_a_confidence(config_document):
    config_document["registry"] |= {"confidence": None, "evidence": "superiority"}

    with pytest.raises(
        ConfigError, match=r"registry\.evidence: superiority needs a registry\.confidence, such as 0\.95"
    ):
        validate_config(config_document)


def test_a_configuration_of_an_earlier_version_is_told_what_to_add(config_document):
    del config_document["paths"]["test_predictions"]
    for key in ("confidence", "evidence", "margin", "slices"):
        del config_document["registry"][key]

    with pytest.raises(ConfigError) as refused:
        validate_config(config_document)

    assert str(refused.value) == (
        "config/config.yaml: paths.test_predictions: is missing; add for example test_predictions: "
        "reports/test_predictions.parquet. Fix it there."
    )


def shown(wins: int, losses: int, rows: int = 200, *, newer: bool = True, **values):
    """The result of the rule on the metric, where only one of the models is right on some of the rows."""
    actual, wrong = "ab" * (rows // 2), "ba" * (rows // 2)
    champion = wrong[:wins] + actual[wins:]
    challenger = actual[: rows - losses] + wrong[rows - losses :]
    pair = labelled(actual, champion, challenger)
    asked = rule(**{"confidence": 0.95, "minimum": 0.0, **values})
    scores = [{"test_accuracy": value("accuracy", pair.rows, one)} for one in (pair.challenger, pair.champion)]
    checks = evaluate(asked, *scores, newer=newer, evidence=Evidence(pair))
    return checks, warnings_of(asked, checks, Evidence(pair))


@pytest.mark.parametrize(
    ("wins", "losses", "values", "wanted"),
    [
        (0, 4, {}, True),  # worse by 0.02, which 4 rows do not show
        (0, 12, {}, False),
        (0, 0, {}, True),
        (0, 0, {"newer": False}, False),
        (12, 0, {"newer": False}, True),
        (4, 0, {"evidence": "superiority"}, False),
        (12, 0, {"evidence": "superiority"}, True),
        (12, 0, {"evidence": "superiority", "min_gain": 0.03}, False),
        (30, 0, {"evidence": "superiority", "min_gain": 0.03}, True),
        (0, 0, {"evidence": "non_inferiority"}, True),
        (0, 0, {"evidence": "non_inferiority", "rows": 30}, False),
        (0, 4, {"evidence": "non_inferiority"}, False),
        (0, 4, {"evidence": "non_inferiority", "margin": 0.06}, True),
    ],
)
def test_what_is_shown_decides(wins, losses, values, wanted):
    (_, check), _ = shown(wins, losses, **values)

    assert check.passed == wanted
    assert check.lower <= check.change <= check.upper


def test_where_lower_is_better_the_interval_is_of_the_change():
    pair = labelled("ab" * 50, "ba" * 20 + "ab" * 30, "ab" * 50)
    asked = rule(metric="test_brier", minimum=1.0, confidence=0.95, evidence="superiority")
    scores = [{"test_brier": value("brier", pair.rows, one)} for one in (pair.challenger, pair.champion)]

    (_, check) = evaluate(asked, *scores, evidence=Evidence(pair))

    assert check.passed
    assert check.lower < check.change == -0.4 < check.upper < 0


def test_the_verdict_has_the_interval_and_says_in_words_what_is_not_shown():
    checks, warnings = shown(5, 2, evidence="superiority", min_gain=0.01)
    verdict = Verdict("2", False, "challenger", "1", "1", "same rows", checks, warnings=warnings)

    head, _, line, warning = verdict.table().splitlines()
    assert "change   95 % interval       rule" in head
    assert f"+0.0150  {checks[1].lower:+.4f} to {checks[1].upper:+.4f}  shown better by more than 0.01  no" in line
    assert warning.startswith("warning: 200 test rows (one row is 0.0050) give test_accuracy a 95 % interval of ±0.0")
    assert "a difference of 0.01 (registry.min_gain) cannot be told; that takes about " in warning
    assert why_not_champion(verdict.as_dict()) == (
        f"test_accuracy is not shown better by more than 0.01: +0.0150, 95 % interval {checks[1].lower:+.4f} to "
        f"{checks[1].upper:+.4f}"
    )


def test_a_loss_that_is_not_shown_passes_with_a_warning():
    checks, (warning,) = shown(0, 4)

    assert all(passed(checks))
    assert warning == (
        f"test_accuracy is worse, but 200 test rows do not show it: -0.0200, 95 % interval {checks[1].lower:+.4f} to "
        f"{checks[1].upper:+.4f}"
    )


@pytest.mark.parametrize(
    ("wins", "losses", "values"),
    [
        (3, 0, {"rows": 30, "evidence": "non_inferiority", "margin": 0.1}),
        (40, 0, {"evidence": "superiority", "min_gain": 0.05}),
    ],
)
def test_what_is_shown_all_the_same_is_no_warning(wins, losses, values):
    checks, warnings = shown(wins, losses, **values)

    assert all(passed(checks))
    assert (checks[1].upper - checks[1].lower) / 2 > checks[1].difference
    assert warnings == []


def test_thirty_rows_on_which_both_agree_cannot_tell_a_tolerance():
    pair = labelled("abc" * 10, "abc" * 10, "abc" * 10)
    asked = rule(confidence=0.95, tolerances={"test_f1_macro": 0.02})
    same = {"test_accuracy": 1.0, "test_f1_macro": 1.0}

    checks = evaluate(asked, same, same, evidence=Evidence(pair))
    told = warnings_of(asked, checks, Evidence(pair))

    assert all(passed(checks))
    assert "a difference of 0.02 (registry.tolerances.test_f1_macro) cannot be told; that takes about" in told[0]
    assert told[1] == "champion and challenger predict the same class for every test row"


@pytest.mark.parametrize(("wins", "losses"), [(0, 0), (3, 3)])
def test_the_rows_that_a_warning_asks_for_do_tell_the_difference(wins, losses):
    margin, values = 0.02, {"evidence": "non_inferiority", "margin": 0.02}
    _, (warning, *_) = shown(wins, losses, 60, **values)
    needed = int(warning.rpartition("about ")[2].removesuffix(" rows").replace(",", ""))
    times = needed / 60

    (_, check), _ = shown(round(wins * times), round(losses * times), 2 * (needed // 2), **values)

    half = (check.upper - check.lower) / 2
    assert 0.75 * margin < half < 1.25 * margin


def test_each_comparison_of_the_gate_keeps_its_lock():
    actual = "ab" * 20
    pair = labelled(actual, actual, actual)
    asked = rule(confidence=0.95, tolerances={"test_f1_macro": 0.02})
    group = Group("registry.slices.0", "test_accuracy[x=1]", "accuracy", pair, None, 0.1)
    same, kept = {"test_accuracy": 1.0, "test_f1_macro": 1.0}, []

    checks = evaluate(asked, same, same, evidence=Evidence(pair, [group] * 3), between=lambda: kept.append(1))

    assert len(kept) == len(checks) - 1


def test_one_row_shows_nothing_and_its_verdict_is_json():
    pair = labelled("ab", "ab", "ab").at(np.array([True, False]))
    same = {"test_accuracy": 1.0}

    checks = evaluate(rule(confidence=0.95, evidence="non_inferiority"), same, same, evidence=Evidence(pair))

    verdict = Verdict("2", False, "challenger", "1", "1", "same rows", checks)
    assert passed(checks) == [True, False]
    assert json.dumps(verdict.as_dict(), allow_nan=False)
    assert "required: shown not worse by more than 0.02" in why_not_champion(verdict.as_dict())


def test_where_the_end_may_be_cut_off_what_failed_and_warnings_come_first():
    checks = evaluate(rule(min_gain=0.1), {"test_accuracy": 0.95}, {"test_accuracy": 0.9})
    verdict = Verdict("2", False, "challenger", "1", "1", "same rows", checks, warnings=["few rows"])

    head, failed, warning, held = verdict.table_worst_first().splitlines()

    assert head.startswith("metric")
    assert failed.endswith("better by 0.1  no")
    assert (warning, held.split()[-1]) == ("warning: few rows", "yes")


def test_a_confidence_without_predictions_is_a_mistake_of_the_caller():
    with pytest.raises(ValueError, match="there are no predictions to resample"):
        evaluate(rule(confidence=0.95), {"test_accuracy": 0.9}, {"test_accuracy": 0.9})
