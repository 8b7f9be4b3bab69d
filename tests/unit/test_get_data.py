"""The stage get_data, without a server."""

import io

import pandas as pd
import pytest

from include.errors import ConfigError, DataError
from include.settings import RuntimeSettings
from include.settings.config_file import validate_config
from include.stages.get_data import fetch, format_of, load_builtin, parse
from include.store.sources import SKLEARN_DATASETS

TABLE = pd.DataFrame({"x": [0.1, 1e-17, 3.0], "target": ["a", "b", "a"]})


@pytest.fixture
def data(config_document):
    def data(**values):
        return validate_config({**config_document, "data": {**config_document["data"], **values}}).data

    return data


@pytest.mark.parametrize("name", SKLEARN_DATASETS)
def test_a_built_in_set_has_numeric_features_and_named_classes(name):
    frame = load_builtin(name, "kind")

    assert frame.drop(columns="kind").dtypes.map(lambda dtype: dtype.kind).isin(list("if")).all()
    assert frame["kind"].nunique() >= 2
    assert frame["kind"].map(type).eq(str).all()


def test_iris_is_iris():
    frame = load_builtin("iris", "target")

    assert frame.shape == (150, 5)
    assert list(frame.columns) == ["sepal_length_cm", "sepal_width_cm", "petal_length_cm", "petal_width_cm", "target"]
    assert frame["target"].value_counts().to_dict() == {"setosa": 50, "versicolor": 50, "virginica": 50}


def test_csv_and_parquet_of_one_table_give_the_same_table(tmp_path, data):
    TABLE.to_csv(tmp_path / "t.csv", index=False)
    TABLE.to_parquet(tmp_path / "t.parquet")

    for name in ("t.csv", "t.parquet"):
        frame = fetch(data(source=name), RuntimeSettings(), tmp_path)
        pd.testing.assert_frame_equal(frame, TABLE, check_exact=True)


def test_a_configured_format_wins_over_the_ending(data):
    buffer = io.BytesIO()
    TABLE.to_parquet(buffer)

    frame = parse(buffer.getvalue(), data(source="t.csv", format="parquet"))

    pd.testing.assert_frame_equal(frame, TABLE)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("a.csv", "csv"),
        ("A.CSV", "csv"),
        ("a.parquet", "parquet"),
        ("s3://b/a.pq", "parquet"),
        ("http://h/a.csv?x=1", "csv"),
    ],
)
def test_the_format_is_told_by_the_ending(source, expected):
    assert format_of(source) == expected


def test_an_unknown_ending_is_refused_with_the_key_to_set():
    with pytest.raises(ConfigError, match=r"^data\.format: .*set it to csv or parquet"):
        format_of("table.xlsx")


@pytest.mark.parametrize(
    ("content", "name"), [(b"\x00\x01", "t.parquet"), (b"\xff\xfe\xff", "t.csv"), (b'a,b\n"1', "t.csv")]
)
def test_bytes_that_are_no_table_are_refused(content, name, data):
    with pytest.raises(DataError, match=r"^data\.source: t\.\w+ is not a \w+ table"):
        parse(content, data(source=name))


def test_a_table_without_rows_is_refused(data):
    with pytest.raises(DataError, match="has no rows"):
        parse(b"a,target\n", data(source="t.csv"))
