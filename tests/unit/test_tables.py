"""Tables of strangers: each trains as it is, or is refused with a remedy that works."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from include.errors import ConfigError, DataError
from tests.support.refused_tables import BAD
from tests.support.tables import GOOD, GROUP, ROWS, csv, features, labelled, parquet, plain
from tests.support.trained import train


def write(folder: Path, name: str, content: Any) -> Path:
    file = folder / name
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    return file


@pytest.mark.parametrize("case", GOOD, ids=lambda case: case.name)
def test_a_table_trains_as_it_is_with_the_classes_that_the_source_has(case, tmp_path):
    trained = train(write(tmp_path, case.name, case.content()), **case.values)

    assert trained.classes == case.classes
    assert [type(name) for name in trained.classes] == [type(name) for name in case.classes]
    assert len(trained.train) + len(trained.test) == ROWS
    assert trained.scores["accuracy"] > 0.8


@pytest.mark.parametrize("case", BAD, ids=lambda case: case.name)
def test_a_table_is_refused_in_a_sentence_and_the_remedy_works(case, tmp_path):
    source = write(tmp_path, case.name, case.content())

    with pytest.raises((DataError, ConfigError)) as refused:
        train(source, **case.values)

    text = str(refused.value)
    assert re.search(case.said, text, re.DOTALL), text
    assert case.name in text
    assert len(text) < 1200
    assert "out/" not in text  # never a file of the workspace
    assert list((tmp_path / "out").glob("t*.parquet")) == []
    if case.remedy is not None:
        assert train(source, **{**case.values, **case.remedy}).scores["accuracy"] > 0.6


def test_a_message_stays_short_whatever_the_table(tmp_path):
    frame = plain().assign(**{f"text_{n}": [f"{n} {row}" * 20 for row in range(ROWS)] for n in range(100)})

    with pytest.raises(DataError) as refused:
        train(write(tmp_path, "many.csv", csv(frame)))

    assert "92 more columns have such problems" in str(refused.value)
    assert len(str(refused.value)) < 3000


def test_100_000_categories_are_refused_within_seconds(tmp_path):
    rows = 200_000
    frame = pd.DataFrame({"a": np.arange(rows) % 7, "code": [f"c{n % 100_000}" for n in range(rows)]})
    frame["target"] = np.where(frame["a"] > 3, "x", "y")

    with pytest.raises(DataError, match=r"'code' has 100000 different texts; up to 1000 can be categories"):
        train(write(tmp_path, "codes.parquet", parquet(frame)))


def test_a_leak_and_other_suspicions_are_warned_of(tmp_path):
    frame = labelled("yes", "Yes", "no").assign(
        paid_at=GROUP * 10.0 + features()["width"] / 100, plan=np.array(["a", "b", "c"])[GROUP], site="north",
        area=[n * n + 7 for n in range(ROWS)],
    )  # fmt: skip

    warnings = train(write(tmp_path, "leak.csv", csv(frame))).summary["warnings"]

    assert [one for one in warnings if "'paid_at', 'plan'" in one and "tell every row's class" in one]
    assert "the same value in every row: 'site'" in warnings
    assert [one for one in warnings if "perhaps an id: 'area'" in one]
    assert "classes that differ only by spaces or case: 'Yes', 'yes'" in [
        re.sub(r"'yes', 'Yes'", "'Yes', 'yes'", one) for one in warnings
    ]


def test_a_clean_table_is_not_warned_of(tmp_path):
    assert train(write(tmp_path, "clean.csv", csv(plain()))).summary["warnings"] == []


def test_csv_and_parquet_of_one_table_give_the_same_numbers_to_the_last_bit(tmp_path):
    frame = plain().assign(tiny=[1e-17 * (n + 1) / 3 for n in range(ROWS)], large=[0.1 + n * 1e15 for n in range(ROWS)])

    of_csv = train(write(tmp_path, "t.csv", csv(frame)))
    of_parquet = train(write(tmp_path, "t.parquet", parquet(frame)))

    pd.testing.assert_frame_equal(of_csv.train, of_parquet.train, check_exact=True)
