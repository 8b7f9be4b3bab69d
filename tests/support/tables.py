"""Tables of strangers that train as they are; `tests.support.refused_tables` has the others."""

import gzip
import io
import lzma
from collections.abc import Callable, Mapping
from datetime import date
from decimal import Decimal
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

ROWS = 150
GROUP = np.repeat([0, 1, 2], ROWS // 3)


def features() -> pd.DataFrame:
    """Three numbers that tell three classes apart, if not always."""
    noise = np.random.default_rng(5).normal(size=(ROWS, 3))
    return pd.DataFrame((noise + 2.5 * GROUP[:, None]).round(3), columns=["height", "width", "depth"])


def labelled(*names: Any) -> pd.DataFrame:
    return features().assign(target=np.array(names, dtype=object)[GROUP])


def plain() -> pd.DataFrame:
    return labelled("red", "green", "blue")


def csv(frame: pd.DataFrame, **arguments: Any) -> str:
    return frame.to_csv(index=False, **arguments)


def whole() -> pd.DataFrame:
    """The same without a point in any number."""
    return plain().assign(**{name: (features()[name] * 10).astype(int) for name in features()})


def mixed(values: list[Any]) -> list[Any]:
    """Values over and over, in an order that has nothing to do with the classes."""
    return [values[row * 7 % len(values)] for row in range(ROWS)]


class Good(NamedTuple):
    """A table that trains: what is written, what is configured, and the classes that come out."""

    name: str
    content: Callable[[], Any]
    classes: list[Any]
    values: Mapping[str, Any] = MappingProxyType({})


def parquet(frame: pd.DataFrame, **arguments: Any) -> bytes:
    stream = io.BytesIO()
    frame.to_parquet(stream, **arguments)
    return stream.getvalue()


def table(columns: dict[str, Any]) -> bytes:
    """A Parquet file of Arrow columns."""
    stream = io.BytesIO()
    pq.write_table(pa.table(columns), stream)
    return stream.getvalue()


def zstd(content: bytes) -> bytes:
    stream = pa.BufferOutputStream()
    with pa.CompressedOutputStream(stream, "zstd") as packed:
        packed.write(content)
    return stream.getvalue().to_pybytes()


COLOURS = ["blue", "green", "red"]
GOOD = [
    Good("as_it_is.csv", lambda: csv(plain()), COLOURS),
    Good("digits.parquet", lambda: parquet(labelled("01", "1", "10")), ["01", "1", "10"]),
    Good("digits.csv", lambda: csv(labelled("01", "1", "10")), ["01", "1", "10"]),
    Good("agents.csv", lambda: csv(labelled("007", "7", "07.0")), ["007", "07.0", "7"]),
    Good("nothing.csv", lambda: csv(labelled("none", "None", "null")), ["None", "none", "null"]),
    Good("nothing.parquet", lambda: parquet(labelled("NA", "nan", "NULL")), ["NA", "NULL", "nan"]),
    Good("regions.csv", lambda: csv(labelled("EU", "NA", "AS")), ["AS", "EU", "NA"]),
    Good("numbers.parquet", lambda: parquet(labelled(0, 1, 2).astype({"target": "int64"})), [0, 1, 2]),
    Good("nullable.parquet", lambda: parquet(labelled(0, 1, 2).astype({"target": "Int64"})), [0, 1, 2]),
    Good("yes.parquet", lambda: parquet(labelled(False, True, True).astype({"target": bool})), [False, True]),
    Good("yes.csv", lambda: csv(labelled(False, True, True)), ["False", "True"]),
    Good("ratings.parquet", lambda: parquet(labelled(0.5, 1.0, 1.5).astype({"target": float})), ["0.5", "1.0", "1.5"]),
    Good("category.parquet", lambda: parquet(plain().astype({"target": "category"})), COLOURS),
    Good("days.parquet", lambda: parquet(labelled(date(2026, 1, 1), date(2026, 1, 2), date(2026, 1, 3))),
         ["2026-01-01", "2026-01-02", "2026-01-03"]),
    Good("umlauts.csv", lambda: csv(labelled("Köln", "Łódź", "東京")), ["Köln", "Łódź", "東京"]),
    Good("semicolon.csv", lambda: csv(plain(), sep=";", decimal=","), COLOURS),
    Good("tabs.tsv", lambda: csv(plain(), sep="\t"), COLOURS),
    Good("pipes.txt", lambda: csv(plain(), sep="|"), COLOURS),
    Good("spaces.data", lambda: csv(plain(), sep=" "), COLOURS),
    Good("packed.csv.gz", lambda: gzip.compress(csv(plain()).encode()), COLOURS),
    Good("packed.csv.zst", lambda: zstd(csv(plain()).encode()), COLOURS),
    Good("packed.csv.xz", lambda: lzma.compress(csv(plain()).encode()), COLOURS),
    Good("packed.parquet.gz", lambda: gzip.compress(parquet(plain())), COLOURS),
    Good("marked.csv", lambda: b"\xef\xbb\xbf" + csv(plain()).encode(), COLOURS),
    Good("wide.csv", lambda: csv(plain()).encode("utf-16"), COLOURS),
    Good("windows.csv", lambda: csv(plain(), lineterminator="\r\n"), COLOURS),
    Good("mixed_ends.csv", lambda: csv(plain()).replace("\n", "\r\n", 40), COLOURS),
    Good("euros.csv", lambda: csv(plain().assign(price=mixed(["1.234,50", "99,90", "12.000,00"])), sep=";", decimal=","),
         COLOURS),
    Good("apostrophes.csv", lambda: csv(plain().assign(price=mixed(["1'234", "12'500", "900"]))), COLOURS),
    Good("thousands.csv", lambda: csv(plain().assign(price=mixed(["1,234", "12,500", "900"]))), COLOURS),
    Good("versions.csv", lambda: csv(plain().assign(price=mixed(["1.234,50", "99,90"]), version=mixed(["1.2.3", "1.2.4"])),
         sep=";", decimal=","), COLOURS),
    Good("r.txt", lambda: plain_in_quotes("01", "1", "10"), ["01", "1", "10"]),
    Good("spaced.txt", lambda: csv(labelled("dark red", "red", "blue"), sep=" "), ["blue", "dark red", "red"]),
    Good("marked_utf16.csv", lambda: csv(labelled("01", "1", "10")[["target", "height", "width"]]).encode("utf-16"),
         ["01", "1", "10"], {"data.csv.encoding": "utf-16-le"}),
    Good("large.parquet", lambda: parquet(plain().assign(code=mixed([2**53, 2**53 + 1, 2**63]))), COLOURS,
         {"data.categorical": ["code"]}),
    Good("small_floats.parquet", lambda: parquet(labelled(0.1, 0.2, 0.3).astype({"target": "float32"})), ["0.1", "0.2", "0.3"]),
    Good("dollars.csv", lambda: csv(plain().assign(price=mixed(["1,234.50", "99.90", "1,000,000"]))), COLOURS),
    Good("gaps.csv", lambda: csv(plain().assign(visits=mixed([1, 2, None, "NA", 5]))), COLOURS),
    Good("members.csv", lambda: csv(plain().assign(member=mixed(["True", "", "False", "true"]))), COLOURS),
    Good("members.parquet", lambda: parquet(plain().assign(
        member=pd.array(mixed([True, None, False]), dtype="boolean"),
        visits=pd.array(mixed([1, 2, None]), dtype="Int64"))), COLOURS),
    Good("decimals.parquet", lambda: table({
        **{name: plain()[name].to_numpy() for name in plain()}, "price": [Decimal(f"{row % 9}.50") for row in range(ROWS)]
    }), COLOURS),
    Good("towns.csv", lambda: csv(plain().assign(town=mixed(["Ulm", "Rom", "", "NA"]))), COLOURS),
    Good("postcodes.csv", lambda: csv(plain().assign(postcode=mixed(["01067", "89073", "10115"]))), COLOURS),
    Good("floors.csv", lambda: csv(plain().assign(floor=mixed(["1", "2", "3A", "3B"]))), COLOURS),
    Good("indexed.parquet", lambda: parquet(plain().assign(id=range(ROWS)).set_index("id")), COLOURS),
    Good("numbers_as_names.parquet", lambda: parquet(plain().rename(columns={"height": "1"})), COLOURS),
    Good("grades.csv", lambda: csv(plain().assign(grade=mixed([1, 2, 3]))), COLOURS, {"data.categorical": ["grade"]}),
    Good("constant.csv", lambda: csv(plain().assign(site="north", year=2026)), COLOURS),
    Good("quoted.csv", lambda: csv(plain().assign(note=mixed(['a "b"', "c, d", "e\nf"]))), COLOURS),
]  # fmt: skip


def plain_in_quotes(*names: str) -> str:
    """As R's write.table has it."""
    frame = labelled(*names)
    head = " ".join(f'"{name}"' for name in frame)
    return "\n".join([head, *(f'{a} {b} {c} "{name}"' for a, b, c, name in frame.to_numpy())])
