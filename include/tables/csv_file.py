"""A CSV file as a table: numbers where all of a column are numbers, else the text that stands there."""

import io
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from warnings import catch_warnings, simplefilter

from include.errors import DataError
from include.settings.pipeline import CsvConfig
from include.tables.dialect import Dialect, find_dialect, likely_encoding
from include.tables.numbers import BOOLEANS, GAPS, Marks, distinct_cells, find_marks, is_padded, plain_numbers
from include.tables.words import require_names, some

if TYPE_CHECKING:
    import pandas as pd

SAMPLE = 1 << 20  # bytes at the beginning by which columns of text are told; later surprises are found when all is read
FEW = 10  # rows that are looked at where these bytes are none


@dataclass(frozen=True)
class _Reading:
    """How one file is read."""

    path: Path
    dialect: Dialect
    marks: Marks
    missing: tuple[str, ...]

    def sample(self) -> "pd.DataFrame":
        """Some rows at the beginning, each cell as text."""
        import pandas as pd

        with self.path.open(encoding=self.dialect.encoding, newline="") as file:
            beginning = file.read(SAMPLE)
            if file.read(1):
                beginning = beginning[: beginning.rfind("\n") + 1]
        try:
            rows = self.read(self.dialect.header_names, io.StringIO(beginning))
        except (pd.errors.ParserError, pd.errors.EmptyDataError):  # cut within quotes, or within the first line
            return self.read(self.dialect.header_names, nrows=FEW)
        return rows if len(rows) else self.read(self.dialect.header_names, nrows=FEW)

    def read(self, text: Collection[str], content: io.StringIO | None = None, **arguments: Any) -> "pd.DataFrame":
        """Read columns of this file.

        :param text: those that stay as they are; in the others, the usual signs for a missing value are one.
        :param content: its beginning, in place of all of it.
        """
        import pandas as pd

        names = self.dialect.header_names
        with catch_warnings():
            simplefilter("ignore", pd.errors.DtypeWarning)  # numbers until far below: that column is read once more
            frame: pd.DataFrame = pd.read_csv(
                self.path if content is None else content,
                sep=self.dialect.pandas_separator,
                encoding=self.dialect.encoding,
                decimal=self.marks.decimal,
                dtype={name: str for name in names if name in text},
                keep_default_na=False,
                na_values={name: list(self.missing if name in text else (*GAPS, *self.missing)) for name in names},
                **arguments,
            )
        if not isinstance(frame.index, pd.RangeIndex):  # pandas took the first field for an index: all has shifted
            raise DataError(
                "has rows with more fields than its first line. Remove what stands before the line with the names, or "
                "the separator at the end of the rows"
            )
        if "usecols" not in arguments and list(frame.columns) != names:  # what is said of a column would be lost
            raise DataError(
                f"has names of columns that may be read in two ways: {some(names)}. Put them in plain quotes"
            )
        return frame


def read_csv(path: Path, rules: CsvConfig, key: str, text: Collection[str]) -> "pd.DataFrame":
    """Read a CSV file.

    :param key: of ``rules`` in the configuration, for messages.
    :param text: columns that are text, whatever they look like: the target.
    :return: a column per field of the header; int, float, nullable boolean, or text.
    :raises DataError: it is not such a file, or a column may be read in two ways. The message lacks the file's name.
    """
    import pandas as pd

    dialect = find_dialect(path, rules, key)
    require_names(dialect.header_names)
    whole = _Reading(path, dialect, Marks(), ("", *(rules.missing or ())))
    try:
        sample = whole.sample()
        if sample.empty:
            raise DataError("has no rows below the line with the names")
        marks = find_marks(
            sample.drop(columns=[name for name in text if name in sample]), rules, dialect.separator, key
        )
        reading = _Reading(path, dialect, marks, whole.missing)
        worded = {str(name) for name in sample.columns if name in text or not _is_numeric(sample[name], marks)}
        frame = reading.read(worded)
        for name in frame.columns:
            frame[name] = _typed(frame[name], str(name) in text, reading)
        return frame
    except UnicodeDecodeError as error:
        raise DataError(_not_decoded(error, dialect, key)) from None
    except pd.errors.ParserError as error:
        raise DataError(_not_parsed(str(error))) from None


def read_text(path: Path, rules: CsvConfig, key: str) -> "pd.DataFrame":
    """The same file, each cell as the text that stands there, nothing missing."""
    import pandas as pd

    dialect = find_dialect(path, rules, key)
    return pd.read_csv(
        path, sep=dialect.pandas_separator, encoding=dialect.encoding, dtype=str, keep_default_na=False, na_filter=False
    )


def _not_decoded(error: UnicodeDecodeError, dialect: Dialect, key: str) -> str:
    if dialect.encoding in ("utf-8", "utf-8-sig"):
        likely = likely_encoding(error)
        byte = f"byte 0x{error.object[error.start]:02x}"
        return f"is not UTF-8 ({byte}) and looks like {likely}: set {key}.encoding to {likely}"
    return f"cannot be decoded as {dialect.encoding} ({error.reason}): correct {key}.encoding, or set it to auto"


def _not_parsed(error: str) -> str:
    """The message of pandas' parser with lines as an editor counts them."""
    if match := re.search(r"Expected (\d+) fields in line (\d+), saw (\d+)", error):
        return f"has {match[3]} fields in line {match[2]}, but {match[1]} in the lines before. Fix that line"
    if match := re.search(r"EOF inside string starting at row (\d+)", error):
        return f"has a quote in line {int(match[1]) + 1} that is never closed. Fix that line"
    return f"cannot be read as CSV: {error.strip()}"


def _is_numeric(column: "pd.Series", marks: Marks) -> bool:
    """Whether pandas can read a column of the sample as numbers: it would not look where marks of thousands stand."""
    cells = distinct_cells(column)
    if is_padded(cells) or (marks.thousands and any(marks.thousands in cell for cell in cells)):
        return False
    import pandas as pd

    return bool(plain_numbers(pd.Series(cells, dtype=str), marks).notna().all())


def _typed(column: "pd.Series", is_text: bool, reading: _Reading) -> "pd.Series":
    """A column as it is, or read once more where what pandas made of it is neither numbers nor text."""
    import pandas as pd

    if column.dtype.kind in "iuf" and not is_text:
        return column
    if not isinstance(column.dtype, pd.StringDtype):
        # Words that pandas takes for booleans, or numbers until far below in the file
        column = reading.read([str(column.name)], usecols=[column.name])[column.name]
    if is_text:
        return column
    distinct = column.dropna().str.strip().unique()
    if len(distinct) <= 12 and (booleans := _booleans(column, distinct)) is not None:
        return booleans
    return _numbers_or_text(column, reading.marks)


def _booleans(column: "pd.Series", distinct: Iterable[str]) -> "pd.Series | None":
    words = {word for word in distinct if word not in GAPS}
    if not words or not {word.casefold() for word in words} <= BOOLEANS.keys():
        return None
    values: Mapping[str, bool] = {word: BOOLEANS[word.casefold()] for word in words}
    return column.str.strip().map(values).astype("boolean")


def _numbers_or_text(column: "pd.Series", marks: Marks) -> "pd.Series":
    """Numbers if all cells are that, or mean that the value is missing; else the text that stands there."""
    filled = column[column.notna() & ~column.isin(GAPS)]
    if filled.empty and column.notna().any():
        return column.where(~column.isin(GAPS)).astype(float)
    if is_padded(filled.unique()) or plain_numbers(filled, marks).isna().any():
        return column
    return plain_numbers(column, marks)
