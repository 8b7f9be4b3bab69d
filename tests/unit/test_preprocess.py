"""The stage preprocess: how it splits; `test_tables` has what it refuses."""

import pandas as pd
import pytest

from include.errors import DataError
from include.settings import SplitConfig
from include.stages.get_data import load_builtin
from include.stages.preprocess import split

RULE = SplitConfig(test_size=0.2, random_state=42)


@pytest.fixture
def iris():
    return load_builtin("iris", "target")


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
        match=r"too few rows for the split: each class .* needs 2 rows; too few of: 'virginica \(1\)'",
    ):
        split(iris.iloc[:101], "target", RULE)


@pytest.mark.parametrize("test_size", [0.01, 0.99])
def test_a_share_that_leaves_a_class_out_is_refused(iris, test_size):
    rows = pd.concat([iris[:3], iris[50:53], iris[100:103]])

    with pytest.raises(DataError, match=r"too few rows for the split \(.*split\.test_size"):
        split(rows, "target", SplitConfig(test_size=test_size, random_state=1))
