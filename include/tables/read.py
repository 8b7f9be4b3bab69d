"""A table at a source, whatever kind of file it is, with errors that name the source and the key to set."""

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from include.errors import ConfigError, DataError
from include.settings.pipeline import CsvConfig
from include.tables.csv_file import read_csv, read_text
from include.tables.parquet_file import copy_parquet, read_parquet, write_parquet
from include.tables.unpack import packed_as, unpacked
from include.tables.words import quoted

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Origin:
    """Where a table comes from, as the user wrote it.

    ``key`` is what says so in the configuration: ``data.source`` or ``scoring.input``; ``section`` is its section.
    """

    source: str
    format: Literal["auto", "csv", "parquet"]
    csv: CsvConfig
    key: str = "data.source"

    @property
    def section(self) -> str:
        """Where format and dialect stand."""
        return self.key.partition(".")[0]

    @property
    def kind(self) -> str:
        """``csv`` or ``parquet``, by the ending where the configuration does not say.

        :raises ConfigError: the ending says nothing.
        """
        if self.format != "auto":
            return self.format
        path = self.source.partition("?")[0].lower()
        path = path.removesuffix(packed_as(path))
        if path.endswith((".parquet", ".pq")):
            return "parquet"
        if path.endswith((".csv", ".tsv", ".txt", ".data")):
            return "csv"
        raise ConfigError(
            f"{self.section}.format: cannot tell the format of {self.source!r} from its ending; set it to csv or "
            "parquet."
        )

    @contextmanager
    def named(self) -> Iterator[None]:
        """Put the source before what is wrong with it."""
        try:
            yield
        except DataError as error:
            text, shown = str(error), self.source.partition("?")[0]  # what follows may hold a token
            start = "" if text.startswith(shown) else f"{shown} " if _is_verb(text) else f"{shown}: "
            end = "" if text.endswith(("?", ".")) else "."
            raise DataError(f"{self.key}: {start}{text}{end}") from None


def _is_verb(text: str) -> bool:
    return text.startswith(("is ", "has ", "contains ", "cannot ", "begins "))


def read_table(path: Path, origin: Origin, text: Collection[str]) -> "pd.DataFrame":
    """Read a table.

    :param path: of the file's bytes on this machine.
    :param text: columns of a CSV file that are text, whatever they look like.
    :raises DataError: it is not what the configuration says, or has no rows.
    """
    with origin.named(), unpacked(path, origin.source) as content:
        if origin.kind == "parquet":
            frame = read_parquet(content)
        else:
            frame = read_csv(content, origin.csv, f"{origin.section}.csv", text)
        if frame.empty:
            raise DataError("has no rows")
        return frame


def read_cells(path: Path, origin: Origin) -> "pd.DataFrame":
    """A CSV file, each cell as the text that stands there."""
    with origin.named(), unpacked(path, origin.source) as content:
        return read_text(content, origin.csv, f"{origin.section}.csv")


def keep_as_parquet(path: Path, origin: Origin, label: str, categories: list[str], target: str) -> tuple[int, int]:
    """Write a table as Parquet: a Parquet file as it is, of a CSV file what `read_table` gives.

    :param label: the column to predict; like ``categories``, its values are text, whatever they look like.
    :param target: the path to write.
    :return: its rows and columns.
    """
    if origin.kind == "parquet":
        with origin.named(), unpacked(path, origin.source) as content:
            shape = copy_parquet(content, target)
            if not shape[0]:
                raise DataError("has no rows")
        return shape
    frame = read_table(path, origin, [label, *categories])
    if hint := _without_header(frame, label):
        with origin.named():
            raise DataError(hint)
    write_parquet(target, frame)
    return frame.shape


def _without_header(frame: "pd.DataFrame", target: str) -> str | None:
    """The hint that a CSV file has no line with names, if the names look like values."""
    names = [str(name) for name in frame.columns]
    if target in names or not any(_is_number(name) for name in names):
        return None
    shown = quoted(",".join(names))
    return f"its first line, {shown}, looks like values, not names: put a line with the columns' names before it"


def _is_number(text: str) -> bool:
    try:
        float(text)
        return True
    except ValueError:
        return False
