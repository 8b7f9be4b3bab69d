"""Tables of strangers that are refused, with what is said of them and what helps."""

import gzip
import io
import zlib
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from tests.support.tables import ROWS, csv, features, labelled, mixed, parquet, plain, table, whole, zstd


def twice() -> bytes:
    stream = io.BytesIO()
    pq.write_table(
        pa.Table.from_arrays([pa.array([1.0]), pa.array([2.0]), pa.array(["a"])], ["x", "x", "target"]), stream
    )
    return stream.getvalue()


def bomb() -> bytes:
    """300 MiB in 300 KiB."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    piece = b"0,0,red\n" * (1 << 17)
    return packer.compress(b"a,b,target\n") + b"".join(packer.compress(piece) for _ in range(300)) + packer.flush()


class Bad(NamedTuple):
    """A table that is refused: what the message says, and the values that it advises to set (None: change the table)."""

    name: str
    content: Callable[[], Any]
    said: str
    remedy: dict[str, Any] | None = None
    values: Mapping[str, Any] = MappingProxyType({})


def titanic() -> pd.DataFrame:
    """Passengers of a ship that never was: names, ids, text, gaps."""
    rng = np.random.default_rng(5)
    rows = 400
    sex = rng.choice(["male", "female"], rows)
    score = 1.6 * (sex == "female") + rng.normal(0, 0.8, rows)
    return pd.DataFrame(
        {
            "PassengerId": np.arange(1, rows + 1),
            "Survived": (score > np.median(score)).astype(int),
            "Name": [f"Passenger, No. {number}" for number in range(rows)],
            "Sex": sex,
            "Age": np.where(rng.random(rows) < 0.2, np.nan, rng.normal(32, 13, rows).round(1)),
            "Ticket": [f"A/{n}" if n % 5 == 0 else f"{n * 37 + 10_000}" for n in range(rows)],
            "Cabin": np.where(rng.random(rows) < 0.77, None, [f"C{number % 40}" for number in range(rows)]),
            "Embarked": np.where(rng.random(rows) < 0.01, None, rng.choice(["S", "C", "Q"], rows)),
        }
    )


def shuffled_ids() -> list[int]:
    return np.random.default_rng(1).permutation(ROWS).tolist()


def cells(column: str, *values: Any) -> pd.DataFrame:
    """The plain table with other values in the first rows of a column."""
    frame = plain().astype({column: object})
    frame.loc[: len(values) - 1, column] = values
    return frame


BAD = [
    Bad("titanic.csv", lambda: csv(titanic()),
        r"'PassengerId' only counts the rows; .*'Name' has a different text.*'Ticket' has numbers in 320 rows and text in "
        r"80.*'Cabin' lacks .*set data\.drop: \[PassengerId, Name, Ticket, Cabin\]",
        {"data.drop": ["PassengerId", "Name", "Ticket", "Cabin"]}, {"data.target": "Survived"}),
    Bad("index.csv", lambda: plain().to_csv(), r"'Unnamed: 0' only counts the rows.*data\.drop: \[\"Unnamed: 0\"\]",
        {"data.drop": ["Unnamed: 0"]}),
    Bad("counter.parquet", lambda: parquet(plain().assign(n=shuffled_ids())), r"'n' only counts the rows.*data\.keep: \[n\]",
        {"data.keep": ["n"]}),
    Bad("ids.csv", lambda: csv(plain().assign(customer_id=[n * n + 10**6 for n in range(ROWS)])),
        r"'customer_id' has a different value in each row", {"data.drop": ["customer_id"]}),
    Bad("names.csv", lambda: csv(plain().assign(name=[f"Name {n}" for n in range(ROWS)])),
        r"'name' has a different text in each row \('Name 0', 'Name 1'\).*data\.drop: \[name\]", {"data.drop": ["name"]}),
    Bad("some_names.csv", lambda: csv(plain().assign(name=[f"Name {n * 2 // 3}" for n in range(ROWS)])),
        r"'name' has 100 different texts in 150 rows", {"data.keep": ["name"]}),
    Bad("twice.csv", lambda: csv(plain()).replace("width", "target", 1), r"has two columns of the same name: 'target'"),
    Bad("twice.parquet", twice, r"has two columns of the same name: 'x'"),
    Bad("spaced_target.csv", lambda: csv(plain().rename(columns={"target": " Target "})),
        r"no column 'target' \(data\.target\)\. Is it ' Target '\? Set data\.target to that", {"data.target": " Target "}),
    Bad("two_targets.csv", lambda: csv(plain().assign(Target=mixed([1, 2, 3]))),
        r"'Target' differs from the target 'target' only by spaces or case.*data\.drop: \[Target\]",
        {"data.drop": ["Target"]}),
    Bad("no_target.csv", lambda: csv(plain()), r"no column 'species'.*The columns are: 'height', 'width', 'depth', 'target'",
        {"data.target": "target"}, {"data.target": "species"}),
    Bad("headless.csv", lambda: csv(plain(), header=False), r"its first line, .* looks like values, not names: put a line"),
    Bad("continuous.csv", lambda: csv(features().assign(target=features().sum(axis=1).round(2))),
        r"the target 'target' has \d+ different numbers in 150 rows, as for a regression"),
    Bad("counts.parquet", lambda: parquet(features().assign(target=[n * 3 for n in range(ROWS)])),
        r"has 150 different numbers in 150 rows, as for a regression"),
    Bad("all_different.csv", lambda: csv(features().assign(target=[f"a{n}" for n in range(ROWS)])),
        r"150 different classes in 150 rows \('a0', 'a1', 'a2'\), like an id"),
    Bad("one_class.csv", lambda: csv(labelled("a", "a", "a")), r"has 1 class; a classifier needs at least 2"),
    Bad("rare_class.csv", lambda: csv(cells("target", "pink")), r"each class of 'target' needs 2 rows; too few of: 'pink \(1\)'"),
    Bad("no_label.csv", lambda: csv(cells("target", "", "")), r"the target 'target' is missing in 2 of 150 rows"),
    Bad("no_label.parquet", lambda: parquet(cells("target", None)), r"the target 'target' is missing in 1 of 150 rows"),
    Bad("no_label_later.csv", lambda: csv(plain().assign(target=lambda rows: rows["target"].where(rows.index != 6))),
        r"the target 'target' is missing in 1 of 150 rows, first in row 7; fill it in"),
    Bad("dates.csv", lambda: csv(plain().assign(seen=mixed(["2026-01-31", "2026-02-01", "2025-12-24"]))),
        r"'seen' has dates or times like '20.*data\.drop: \[seen\]", {"data.drop": ["seen"]}),
    Bad("dates_as_names.csv", lambda: csv(plain().assign(seen=mixed(["31.01.2026", "01.02.2026"]))),
        r"name it in data\.categorical", {"data.categorical": ["seen"]}),
    Bad("times.parquet", lambda: parquet(plain().assign(seen=pd.date_range("2026-01-01", periods=ROWS))),
        r"'seen' has dates, which no feature can be", {"data.drop": ["seen"]}),
    Bad("nested.parquet", lambda: table({**{n: plain()[n].to_numpy() for n in plain()}, "tags": [["a"], ["b", "c"], []] * 50}),
        r"'tags' has .*, which no feature can be.*data\.drop: \[tags\]", {"data.drop": ["tags"]}),
    Bad("records.parquet", lambda: table({**{n: plain()[n].to_numpy() for n in plain()}, "who": [{"age": 3}] * ROWS}),
        r"'who' has records, which no feature can be", {"data.drop": ["who"]}),
    Bad("binary.parquet", lambda: table({**{n: plain()[n].to_numpy() for n in plain()}, "blob": [b"\0\1"] * ROWS}),
        r"'blob' has binary data", {"data.drop": ["blob"]}),
    Bad("huge.csv", lambda: csv(cells("width", 1e308)), r"'width' contains 1e\+308, which is too large", {"data.drop": ["width"]}),
    Bad("infinite.csv", lambda: csv(cells("width", "inf")), r"'width' contains infinite values, first in row 1", {"data.drop": ["width"]}),
    Bad("empty_column.csv", lambda: csv(plain().assign(notes="")), r"'notes' is empty", {"data.drop": ["notes"]}),
    Bad("gaps.csv", lambda: csv(plain().assign(age=mixed([1, None, None]))),
        r"'age' lacks 66\.7% of its values \(data\.max_missing_share is 0\.5; 0\.667 allows it\)",
        {"data.max_missing_share": 0.667}),
    Bad("question_marks.csv", lambda: csv(cells("width", "?", "?")),
        r"'width' has numbers in 148 rows and text in 2 \('\?'\) .*add the text to data\.csv\.missing",
        {"data.csv.missing": ["?"]}),
    Bad("slips.csv", lambda: csv(cells("width", "wide")), r"numbers in 149 rows and text in 1 \('wide'\)",
        {"data.drop": ["width"]}),
    Bad("unnamed_text.csv", lambda: csv(plain().assign(a=mixed(["x", "y"]), b=mixed(["u", "v", "w"]))),
        r"'b' is text, and data\.categorical does not name it", {"data.categorical": ["a", "b"]}, {"data.categorical": ["a"]}),
    Bad("thousands.csv", lambda: csv(whole().assign(price=mixed(["1,234", "12,500", "900"]))),
        r"'price' has numbers like '1,234', which may be thousands or decimals: set data\.csv\.thousands to ','",
        {"data.csv.thousands": ",", "data.csv.decimal": "."}),
    Bad("decimals.csv", lambda: csv(whole().assign(price=mixed(["1,234", "12,500", "900"]))),
        r"or data\.csv\.decimal to ','", {"data.csv.decimal": ","}),
    Bad("points_or_thousands.csv", lambda: csv(whole().assign(price=mixed(["1.234", "12.500", "900"])), sep=";"),
        r"'price' has numbers like '1\.234', which may be thousands or decimals: set data\.csv\.thousands to '\.'",
        {"data.csv.thousands": ".", "data.csv.decimal": ","}),
    Bad("two_marks.csv", lambda: csv(whole().assign(price=mixed(["0,20", "1,5"]), lat=mixed(["1.324", "47.11"])), sep=";"),
        r"'lat' has numbers that are text \('1\.324'.*data\.drop: \[lat\]", {"data.drop": ["lat"]}),
    Bad("dates_and_prices.csv", lambda: csv(plain().assign(price=mixed(["1.234,50", "2,50"]), day=mixed(["31.12.2025", "1.1.2026"])),
        sep=";", decimal=","), r"'day' has dates or times", {"data.drop": ["day"]}),
    Bad("numbers_as_text.parquet", lambda: parquet(plain().astype({"width": str})),
        r"'width' has numbers that are text", {"data.drop": ["width"]}),
    Bad("for_excel.csv", lambda: "sep=;\n" + csv(plain(), sep=";"), r"begins with a line for Excel, 'sep=;'\. Remove that line"),
    Bad("blank_name.parquet", lambda: parquet(plain().rename(columns={"width": ""})), r"has blank or unprintable names of columns"),
    Bad("lists.parquet", lambda: table({"a": [1.0] * 30, "target": [["x"]] * 30}), r"the target 'target' has lists, which are no"),
    Bad("bytes.parquet", lambda: table({"a": [1.0] * 30, "target": [b"x"] * 30}), r"the target 'target' has binary data, which"),
    Bad("upper.csv", lambda: csv(plain().assign(CUSTOMER_ID=[n * n + 10**6 for n in range(ROWS)])),
        r"'CUSTOMER_ID' has a different value in each row", {"data.drop": ["CUSTOMER_ID"]}),
    Bad("separator.csv", lambda: csv(plain(), sep=";"), r"the header is one column, 'height;width;depth;target': set "
        r"data\.csv\.separator to ';'", {"data.csv.separator": ";"}, {"data.csv.separator": ","}),
    Bad("blanks.csv", lambda: csv(plain(), sep=" "), r"set data\.csv\.separator to whitespace",
        {"data.csv.separator": "whitespace"}, {"data.csv.separator": ";"}),
    Bad("decimal.csv", lambda: csv(plain(), sep=";", decimal=","), r"'height' has numbers like .*, but the decimal mark is "
        r"'\.'.*: set data\.csv\.decimal to ','", {"data.csv.decimal": ","}, {"data.csv.decimal": "."}),
    Bad("points.csv", lambda: csv(plain()), r"set data\.csv\.decimal to '\.'", {"data.csv.decimal": "."},
        {"data.csv.decimal": ",", "data.csv.separator": ","} and {"data.csv.decimal": ","}),
    Bad("no_thousands.csv", lambda: csv(plain(), sep=";", decimal=","),
        r"set data\.csv\.decimal to ',' and data\.csv\.thousands to 'none'",
        {"data.csv.decimal": ",", "data.csv.thousands": "none"}, {"data.csv.thousands": ","}),
    Bad("latin.csv", lambda: csv(labelled("grün", "blau", "rot")).encode("latin-1"),
        r"is not UTF-8 \(byte 0xfc\) and looks like latin-1: set data\.csv\.encoding to latin-1",
        {"data.csv.encoding": "latin-1"}),
    Bad("windows.csv", lambda: csv(labelled("1 €", "2 €", "3 €")).encode("cp1252"), r"looks like cp1252",
        {"data.csv.encoding": "cp1252"}),
    Bad("utf8.csv", lambda: csv(labelled("grün", "blau", "rot")), r"is valid UTF-8, but data\.csv\.encoding is latin-1",
        {"data.csv.encoding": "utf-8"}, {"data.csv.encoding": "latin-1"}),
    Bad("utf16.csv", lambda: csv(plain()).encode("utf-16-le"), r"looks like UTF-16: set data\.csv\.encoding to utf-16-le",
        {"data.csv.encoding": "utf-16-le"}),
    Bad("far_down.csv", lambda: (csv(plain()) + "1,2,3,x\n" * 60_000).encode() + "1,2,3,grün\n".encode("latin-1"),
        r"is not UTF-8 .*latin-1"),
    Bad("zeros.csv", lambda: csv(plain()).replace("red", "r\0d"), r"contains zero bytes, so it is not a text file"),
    Bad("quote.csv", lambda: csv(plain()).replace("\n", '\n"', 1), r"has a quote in line 2 that is never closed"),
    Bad("ragged.csv", lambda: csv(plain()) + "1,2,3,red,5\n", r"has 5 fields in line 152, but 4 in the lines before"),
    Bad("shifted.csv", lambda: "\n".join(line + ",9" if n else line for n, line in enumerate(csv(plain()).splitlines())),
        r"has rows with more fields than its first line"),
    Bad("cut.csv.gz", lambda: gzip.compress(csv(plain()).encode())[:-400], r"cut\.csv\.gz is cut short, or not packed"),
    Bad("not_packed.csv.gz", lambda: csv(plain()), r"is damaged, or not packed as its ending \.gz says"),
    Bad("cut.csv.zst", lambda: zstd(csv(plain()).encode())[:-400], r"cut\.csv\.zst is (cut short|damaged), or not packed"),
    Bad("packed.csv", lambda: gzip.compress(csv(plain()).encode()), r"is packed by gzip\. Give it the ending \.csv\.gz"),
    Bad("bomb.csv.gz", bomb, r"is more than 200 times larger when it is unpacked"),
    Bad("really_parquet.csv", lambda: parquet(plain()), r"looks like Parquet\. Set the format to parquet",
        {"data.format": "parquet"}),
    Bad("really_csv.parquet", lambda: csv(plain()), r"really_csv\.parquet is not a Parquet file"),
    Bad("excel.csv", lambda: b"PK\3\4" + b"\0" * 90, r"looks like a zip archive or an Excel file\. Save the table as CSV"),
    Bad("page.csv", lambda: "<!DOCTYPE html><html><body>Log in</body></html>", r"is a web page\. Check the address"),
    Bad("records.csv", lambda: '[{"a": 1}]', r"looks like JSON"),
    Bad("no_rows.csv", lambda: "a,target\n", r"has no rows"),
    Bad("no_rows.parquet", lambda: parquet(plain().head(0)), r"has no rows"),
    Bad("blank.csv", lambda: " \n\n", r"is empty\. Put a table with a header there"),
    Bad("one_row.csv", lambda: csv(plain().head(1)), r"has 1 class; a classifier needs at least 2"),
    Bad("one_column.csv", lambda: csv(plain()[["target"]]), r"there is no feature column besides the target"),
    Bad("wide.parquet", lambda: parquet(pd.concat([plain(), pd.DataFrame(np.zeros((ROWS, 10_000))).add_prefix("c")], axis=1)),
        r"has 10004 columns, more than 5000"),
    Bad("long_cells.csv", lambda: csv(plain().assign(text=[f"{n}" + "x" * 50_000 for n in range(ROWS)])),
        r"'text' has texts of up to 50003 characters", {"data.drop": ["text"]}),
    Bad("absent_drop.csv", lambda: csv(plain()), r"has no column 'heigth', which data\.drop names\. Is it 'height'\?",
        {"data.drop": ["height"]}, {"data.drop": ["heigth"]}),
    Bad("all_dropped.csv", lambda: csv(plain()), r"there is no feature column besides the target and those in data\.drop",
        {"data.drop": []}, {"data.drop": ["height", "width", "depth"]}),
]  # fmt: skip
