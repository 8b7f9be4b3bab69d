"""The stage get_data, without a server."""

import pandas as pd
import pytest

from include.errors import ConfigError
from include.settings import RuntimeSettings
from include.settings.config_file import validate_config
from include.settings.pipeline import CsvConfig
from include.stages.get_data import fetch, load_builtin
from include.store.sources import SKLEARN_DATASETS
from include.tables.parquet_file import read_parquet
from include.tables.read import Origin

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


def test_what_is_fetched_is_kept_as_parquet_with_the_types_of_the_source(tmp_path, data):
    TABLE.to_csv(tmp_path / "t.csv", index=False)
    TABLE.to_parquet(tmp_path / "t.parquet")

    for name in ("t.csv", "t.parquet"):
        assert fetch(data(source=name), RuntimeSettings(), tmp_path, str(tmp_path / "raw.parquet")) == (3, 2)
        pd.testing.assert_frame_equal(read_parquet(tmp_path / "raw.parquet"), TABLE, check_exact=True)


def test_a_configured_format_wins_over_the_ending(data, tmp_path):
    TABLE.to_parquet(tmp_path / "t.csv")

    fetch(data(source="t.csv", format="parquet"), RuntimeSettings(), tmp_path, str(tmp_path / "raw.parquet"))

    pd.testing.assert_frame_equal(read_parquet(tmp_path / "raw.parquet"), TABLE)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("a.csv", "csv"),
        ("A.CSV", "csv"),
        ("a.parquet", "parquet"),
        ("s3://b/a.pq", "parquet"),
        ("http://h/a.csv?x=1", "csv"),
        ("a.csv.gz", "csv"),
        ("s3://b/a.parquet.zst", "parquet"),
    ],
)
def test_the_format_is_told_by_the_ending(source, expected):
    assert Origin(source, "auto", CsvConfig()).kind == expected


def test_an_unknown_ending_is_refused_with_the_key_to_set():
    with pytest.raises(ConfigError, match=r"^data\.format: .*set it to csv or parquet"):
        _ = Origin("table.xlsx", "auto", CsvConfig()).kind
