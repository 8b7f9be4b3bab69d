"""Sources that need no server: dates, kinds, files."""

from datetime import UTC, datetime

import pytest

from include.errors import ConfigError, DataError
from include.settings import RuntimeSettings
from include.store.sources import current_version, fill_date, kind, local_file

MOMENT = datetime(2026, 3, 4, 5, 6, tzinfo=UTC)
RUNTIME = RuntimeSettings()


@pytest.mark.parametrize(
    ("source", "filled"),
    [
        ("sklearn:iris", "sklearn:iris"),
        ("s3://landing/{date:%Y-%m-%d}.csv", "s3://landing/2026-03-04.csv"),
        ("in/{date}/{date:%H}.csv", "in/2026-03-04/05.csv"),
        ("a{{b}}.csv", "a{b}.csv"),
    ],
)
def test_the_date_is_filled_in(source, filled):
    assert fill_date(source, MOMENT) == filled


@pytest.mark.parametrize("source", ["{run_id}", "{0}", "{date!r}", "{date.__class__}", "{", "}", "{date:%Y"])
def test_any_other_placeholder_is_refused(source):
    with pytest.raises(ConfigError, match=r"^data\.source: "):
        fill_date(source, MOMENT)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("sklearn:iris", "sklearn"),
        ("a/b.csv", "file"),
        ("http://h/x", "http"),
        ("https://h/x", "http"),
        ("s3://b/k", "s3"),
    ],
)
def test_the_kind_is_told_by_the_beginning(source, expected):
    assert kind(source) == expected


def test_an_address_of_another_kind_is_refused():
    with pytest.raises(ConfigError, match="not ftp://"):
        kind("ftp://host/file.csv")


def test_an_unknown_built_in_set_is_refused_with_the_known_ones(tmp_path):
    with pytest.raises(ConfigError, match="'irs'; available: iris, wine"):
        current_version("sklearn:irs", RUNTIME, tmp_path)


def test_a_file_has_the_same_version_until_its_bytes_change(tmp_path):
    file = tmp_path / "data.csv"
    file.write_text("a,b\n1,2\n")
    first = current_version("data.csv", RUNTIME, tmp_path)
    file.touch()

    assert current_version("data.csv", RUNTIME, tmp_path) == first
    with local_file("data.csv", first, RUNTIME, tmp_path) as found:
        assert found.path.read_bytes() == b"a,b\n1,2\n"
        assert f"md5:{found.md5}" == first

    file.write_text("a,b\n1,3\n")
    assert current_version("data.csv", RUNTIME, tmp_path) != first
    with pytest.raises(DataError, match="changed during the run"), local_file("data.csv", first, RUNTIME, tmp_path):
        pass


def test_a_file_that_changes_while_it_is_read_is_refused(tmp_path):
    (tmp_path / "data.csv").write_text("a,b\n1,2\n")

    with (
        pytest.raises(DataError, match="changed during the run"),
        local_file("data.csv", None, RUNTIME, tmp_path) as found,
    ):
        found.path.write_text("a,b\n1,2\n3,4\n")


def test_an_absent_file_is_named_with_its_whole_path(tmp_path):
    with pytest.raises(DataError, match=rf"no file at {tmp_path}/none\.csv"):
        current_version("none.csv", RUNTIME, tmp_path)


def test_an_empty_file_is_refused(tmp_path):
    (tmp_path / "empty.csv").write_text(" \n")

    with pytest.raises(DataError, match=r"empty\.csv is empty"), local_file("empty.csv", None, RUNTIME, tmp_path):
        pass


def test_a_folder_is_refused(tmp_path):
    with pytest.raises(DataError, match="cannot be read: Is a directory"):
        current_version(".", RUNTIME, tmp_path)
