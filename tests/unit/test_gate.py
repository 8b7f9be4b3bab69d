"""The gate's rules, on numbers alone."""

import pytest

from include.errors import ConfigError
from include.registry.gate import Verdict, evaluate
from include.settings import RegistryConfig
from include.settings.config_file import validate_config


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
    ],
)
def test_a_rule_that_makes_no_sense_is_refused_with_its_key(config_document, key, value, message):
    config_document["registry"][key] = value

    with pytest.raises(ConfigError, match=message):
        validate_config(config_document)
