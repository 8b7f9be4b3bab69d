"""The stage preprocess: what data it refuses, and how it splits."""

import numpy as np
import pandas as pd
import pytest

from include.errors import DataError
from include.settings import SplitConfig
from include.settings.config_file import validate_config
from include.stages.get_data import load_builtin
from include.stages.preprocess import check, split

RULE = SplitConfig(test_size=0.2, random_state=42)


@pytest.fixture
def data(config_document):
    def data(**values):
        return validate_config({**config_document, "data": {**config_document["data"], **values}}).data

    return data


@pytest.fixture
def iris():
    return load_builtin("iris", "target")


def test_good_data_pass(iris, data):
    check(iris, data(), "raw.csv")


def test_an_absent_target_is_refused_with_the_columns_there_are(iris, data):
    with pytest.raises(
        DataError, match=r"raw\.csv: no column 'species' \(data\.target\); the columns are: sepal_length_cm, "
    ):
        check(iris, data(target="species"), "raw.csv")


def test_text_in_a_feature_is_refused_with_the_text(iris, data):
    iris["petal_width_cm"] = iris["petal_width_cm"].astype(object)
    iris.loc[0, "petal_width_cm"] = "wide"

    with pytest.raises(DataError, match=r"feature 'petal_width_cm' is not numeric \(contains 'wide'\)"):
        check(iris, data(), "raw.csv")


def test_missing_values_up_to_the_configured_share_pass_and_no_more(iris, data):
    iris.loc[:14, "petal_width_cm"] = np.nan

    check(iris, data(max_missing_share=0.1), "raw.csv")
    with pytest.raises(
        DataError, match=r"'petal_width_cm' lacks 10\.0% of its values, but data\.max_missing_share allows 9\.0%"
    ):
        check(iris, data(max_missing_share=0.09), "raw.csv")


def test_an_empty_feature_is_refused_whatever_share_is_allowed(iris, data):
    iris["nothing"] = np.nan

    with pytest.raises(DataError, match="feature 'nothing' is empty"):
        check(iris, data(max_missing_share=0.99), "raw.csv")


def test_infinite_values_are_refused(iris, data):
    iris.loc[3, "petal_width_cm"] = np.inf

    with pytest.raises(DataError, match="'petal_width_cm' contains infinite values"):
        check(iris, data(), "raw.csv")


def test_a_missing_target_value_is_refused(iris, data):
    iris.loc[[3, 4], "target"] = None

    with pytest.raises(DataError, match="the target 'target' is missing in 2 rows"):
        check(iris, data(), "raw.csv")


def test_one_class_is_refused(iris, data):
    with pytest.raises(DataError, match="has 1 class; a classifier needs at least 2"):
        check(iris[iris["target"] == "setosa"], data(), "raw.csv")


def test_a_table_of_the_target_alone_is_refused(iris, data):
    with pytest.raises(DataError, match="no feature column"):
        check(iris[["target"]], data(), "raw.csv")


def test_the_split_keeps_all_rows_and_the_shares_of_the_classes(iris):
    train, test = split(iris, "target", RULE)

    assert (len(train), len(test)) == (120, 30)
    assert sorted([*train.index, *test.index]) == list(range(150))
    assert test["target"].value_counts().to_dict() == {"setosa": 10, "versicolor": 10, "virginica": 10}


def test_the_split_is_the_same_each_time_and_another_with_another_seed(iris):
    first, again = split(iris, "target", RULE)[1], split(iris, "target", RULE)[1]
    other = split(iris, "target", SplitConfig(test_size=0.2, random_state=7))[1]

    pd.testing.assert_frame_equal(first, again)
    assert list(first.index) != list(other.index)


def test_a_class_with_one_row_is_refused_by_name(iris):
    with pytest.raises(
        DataError,
        match=r"too few rows for the split: each class .* needs 2 rows; too few of: 'virginica' \(1\)",
    ):
        split(iris.iloc[:101], "target", RULE)


@pytest.mark.parametrize("test_size", [0.01, 0.99])
def test_a_share_that_leaves_a_class_out_is_refused(iris, test_size):
    rows = pd.concat([iris[:3], iris[50:53], iris[100:103]])

    with pytest.raises(DataError, match=r"too few rows for the split: .*split\.test_size"):
        split(rows, "target", SplitConfig(test_size=test_size, random_state=1))
