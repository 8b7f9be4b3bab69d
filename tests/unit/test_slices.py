"""Groups of test rows: which there are, what is said of bad ones, and that a loss in one of them is found."""

import math

import numpy as np
import pandas as pd
import pytest

from include.errors import ConfigError, DataError
from include.registry.evidence import Evidence
from include.registry.gate import change_in_words, evaluate
from include.registry.paired import Answers, Pair
from include.registry.slices import groups
from include.registry.warnings import warnings_of
from include.settings import RegistryConfig
from include.settings.config_file import validate_config
from tests.support.pairs import drawn, labelled

BASE = {"model_name": "m", "metric": "test_accuracy", "minimum": 0.0, "confidence": 0.95}


def rule(*slices: dict, **values) -> RegistryConfig:
    return RegistryConfig.model_validate({**BASE, "slices": list(slices), **values})


def found(asked: RegistryConfig, pair: Pair, columns: dict | None = None, known=()):
    made, warnings = groups(asked, "species", pair, known or pair.rows.classes, lambda: pd.DataFrame(columns or {}))
    return made, warnings


def judged(asked: RegistryConfig, pair: Pair, columns: dict | None = None, *, compared: bool = True):
    evidence = Evidence(pair, *found(asked, pair, columns))
    same = {"test_accuracy": 0.9}
    checks = evaluate(asked, same, same if compared else None, evidence=evidence)
    return [check for check in checks if "[" in check.metric], warnings_of(asked, checks, evidence)


def test_there_is_a_group_per_value_and_one_of_the_rows_without():
    pair = drawn(np.random.default_rng(0), 40)
    column = ["north"] * 15 + ["south"] * 14 + [None] * 11

    made, warnings = found(rule({"column": "region", "tolerance": 0.1}), pair, {"region": column})

    assert [(group.label, len(group.pair)) for group in made] == [
        ("test_accuracy[region=(missing)]", 11),
        ("test_accuracy[region=north]", 15),
        ("test_accuracy[region=south]", 14),
    ]
    assert warnings == []


def test_per_class_recall_is_judged_and_a_class_without_rows_is_named():
    pair = labelled("a" * 10 + "b" * 10, "a" * 20, "a" * 8 + "c" * 2 + "b" * 10)

    (first, second), _ = judged(rule({"column": "species", "minimum": 0.9}), pair)
    _, warnings = found(rule({"column": "species", "minimum": 0.9}), pair, known=("a", "b", "c"))

    assert (first.metric, first.challenger, first.passed) == ("test_recall[species=a]", 0.8, False)
    assert (second.metric, second.challenger, second.passed) == ("test_recall[species=b]", 1.0, True)
    assert warnings == ["registry.slices.0: there is no test row of class 'c': not judged"]


def test_without_a_champion_the_minimums_alone_count():
    pair = labelled("a" * 10 + "b" * 10, "a" * 20, "a" * 20)

    checks, _ = judged(rule({"column": "species", "minimum": 0.9, "tolerance": 0.0}), pair, compared=False)

    assert [(check.rule, check.key, check.passed) for check in checks] == [
        ("at least 0.9", "registry.slices.0.minimum", True),
        ("at least 0.9", "registry.slices.0.minimum", False),
    ]


def test_a_group_with_one_row_is_named_and_not_judged():
    pair = drawn(np.random.default_rng(0), 40)

    made, warnings = found(rule({"column": "region", "minimum": 0.5}), pair, {"region": ["north"] * 39 + ["elsewhere"]})

    assert [group.label for group in made] == ["test_accuracy[region=north]"]
    assert warnings == ["registry.slices.0: fewer than 10 test rows (min_rows): 'region=elsewhere': not judged"]


@pytest.mark.parametrize(
    ("column", "values", "said"),
    [
        (
            "regoin",
            ["north"] * 40,
            (
                r"registry\.slices\.0\.column: the test rows have no column 'regoin' \(did you mean 'region'\?\)\. "
                r"They have: 'region'; for a group per class name the target, 'species'.*No alias was changed"
            ),
        ),
        ("specis", ["north"] * 40, r"did you mean 'species'\?"),
        (
            "region",
            range(40),
            r"no group of column 'region' has 10 test rows \(min_rows\): the largest, 'region=0', has 1",
        ),
    ],
)
def test_a_column_that_cannot_be_used_is_refused(column, values, said):
    pair = drawn(np.random.default_rng(0), 40)

    with pytest.raises(DataError, match=said):
        found(rule({"column": column, "minimum": 0.5}), pair, {"region": list(values)})


def test_a_column_with_many_different_numbers_is_to_be_binned():
    pair = drawn(np.random.default_rng(0), 120)

    with pytest.raises(DataError, match=r"'age' has 120 different values in the test rows.*bins them"):
        found(rule({"column": "age", "minimum": 0.5}), pair, {"age": np.linspace(0, 1, 120)})


def test_more_groups_than_can_be_compared_at_the_confidence_are_refused():
    pair, numbers = drawn(np.random.default_rng(0), 260), np.arange(260)
    columns = {name: (numbers // 10 + number) % 26 for number, name in enumerate("vwxyz")}
    slices = [{"column": name, "tolerance": 0.1} for name in columns]

    with pytest.raises(
        DataError, match=r"registry\.slices: 130 groups of test rows .* 0\.95 at most 125 can be compared"
    ):
        found(rule(*slices), pair, columns)
    assert len(found(rule(*slices, evidence="non_inferiority"), pair, columns)[0]) == 130
    assert len(found(rule(*slices[:4]), pair, columns)[0]) == 104


def test_a_loss_is_found_in_one_of_as_many_groups_as_can_be_compared():
    actual = "ab" * 1250
    pair = labelled(actual, actual, "ba" * 15 + actual[30:])
    columns = {name: np.arange(2500) // 50 for name in "xy"} | {"z": np.arange(2500) // 100}

    checks, _ = judged(rule(*({"column": name, "tolerance": 0.1} for name in columns)), pair, columns)

    assert len(checks) == 125
    assert [check.metric for check in checks if not check.passed] == [
        f"test_accuracy[{name}=0]" for name in ("x", "y", "z")
    ]
    assert "95 % (all groups together) interval" in change_in_words(vars(checks[0]))


def test_a_group_of_one_class_has_no_roc_auc_and_is_named():
    pair = labelled("a" * 20 + "b" * 10, "a" * 30, "a" * 30)
    asked = rule({"column": "region", "metric": "test_roc_auc_ovr", "tolerance": 0.1})

    made, warnings = found(asked, pair, {"region": ["north"] * 15 + ["south"] * 15})

    assert [group.label for group in made] == ["test_roc_auc_ovr[region=south]"]
    assert "test_roc_auc_ovr[region=north] are of one class" in warnings[0]


@pytest.mark.parametrize(
    ("slices", "said"),
    [
        ([{"column": "region"}], "slices.0: column 'region' has neither minimum nor tolerance"),
        ([{"column": "region", "minimum": 0.1, "min_rows": 1}], r"slices\.0\.min_rows"),
        ([{"column": "region", "minimum": 0.1}] * 2, "slices.1: column 'region' is there twice"),
        (
            [{"column": "target", "minimum": 0.1}, {"column": "target", "metric": "test_accuracy", "tolerance": 0.1}],
            "slices.1: column 'target' is there twice with the same metric",
        ),
        (
            [{"column": "region", "minimum": 0.1}, {"column": "region", "metric": "test_accuracy", "minimum": 0.1}],
            "slices.1: column 'region' is there twice",
        ),
        ([{"column": "region", "minimum": 1.5}], r"registry\.slices\.0\.minimum: test_accuracy is never above 1"),
        ([{"column": "target", "minimum": 1.5}], r"registry\.slices\.0\.minimum: recall is never above 1"),
        ([{"column": "region", "tolerance": math.inf}], r"slices\.0\.tolerance: Input should be a finite number"),
        ([{"column": "target", "metric": "test_f1_macro", "minimum": 0.1}], "rows of one class have no test_f1_macro"),
        ([{"colum": "region", "minimum": 0.1}], r"registry\.slices\.0\.colum: unknown key"),
    ],
)
def test_a_slice_that_makes_no_sense_is_refused_with_its_key(config_document, slices, said):
    config_document["registry"]["slices"] = slices

    with pytest.raises(ConfigError, match=said):
        validate_config(config_document)


def planted(random: np.random.Generator, loss: float) -> tuple[Pair, dict]:
    """Two equally good models on 1000 rows, but for 100 of them, where the challenger errs more often."""
    pair = drawn(random, 1000)
    region = np.repeat(["north", "south", "east", "west", "isles"], [300, 300, 200, 100, 100])
    hit = (region == "isles") & (random.random(1000) < loss)
    predicted = np.where(hit, (pair.rows.actual + 1) % 3, pair.challenger.predicted)
    return Pair(pair.rows, pair.champion, Answers(predicted, pair.challenger.probabilities)), {"region": region}


def test_a_loss_in_one_group_is_blocked_and_equal_models_are_not():
    asked = rule({"column": "region", "tolerance": 0.05})
    random = np.random.default_rng(4)

    blocked = [judged(asked, *planted(random, 0.4))[0] for _ in range(100)]
    equal = [judged(asked, *planted(random, 0.0))[0] for _ in range(100)]

    failed = [[check.metric for check in checks if not check.passed] for checks in blocked]
    assert sum("test_accuracy[region=isles]" in labels for labels in failed) >= 95
    assert sum(not all(check.passed for check in checks) for checks in equal) <= 5


def test_a_loss_that_chance_may_have_made_is_a_warning_or_blocks_by_a_strict_rule():
    pair = labelled("ab" * 6, "ab" * 6, "ba" + "ab" * 5)
    asked = {"column": "region", "tolerance": 0.05}
    columns = {"region": ["north"] * 12}

    (lenient,), warnings = judged(rule(asked), pair, columns)
    (strict,), _ = judged(rule(asked, evidence="non_inferiority"), pair, columns)

    assert (lenient.passed, lenient.rule) == (True, "not shown worse by more than 0.05")
    assert (strict.passed, strict.rule) == (False, "shown not worse by more than 0.05")
    assert any(line.startswith("test_accuracy[region=north] is worse by more than 0.05") for line in warnings)


def test_values_are_compared_as_they_are_without_a_confidence():
    pair = labelled("ab" * 6, "ab" * 6, "ba" + "ab" * 5)

    (check,), warnings = judged(
        rule({"column": "region", "tolerance": 0.05}, confidence=None), pair, {"region": ["north"] * 12}
    )

    assert (check.passed, check.lower, check.rule) == (False, None, "not worse by more than 0.05")
    assert warnings == []
