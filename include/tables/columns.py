"""What a column holds: numbers, the text of categories, or neither. The same for training, comparison and scoring."""

import re
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from include.tables.numbers import COMMA, PLAIN

if TYPE_CHECKING:
    import pandas as pd

LOOKED_AT = 200  # different values by which text is told to be dates
MONTH = r"(?i:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*"
DATE = re.compile(
    r"\d{4}[-/.]\d{1,2}[-/.]\d{1,2}([ T].*)?|\d{1,2}[-/.]\d{1,2}[-/.]\d{2,4}( .*)?|\d{1,2}:\d\d(:\d\d)?.*"
    rf"|\d{{1,2}}\.?[- ]{MONTH}[- ,]+\d{{2,4}}.*|{MONTH} \d{{1,2}},? \d{{4}}.*"
)
OTHERS = {  # what no feature can be, by the type of its values
    date: "dates", datetime: "dates", time: "times", timedelta: "durations", bytes: "binary data", dict: "records",
    list: "lists",
}  # fmt: skip


def as_numbers(column: "pd.Series") -> "pd.Series | None":
    """A column of numbers, decimals or booleans as floats, NaN where a value is missing; None if it is none."""
    if column.dtype.kind in "iufb":
        return column.astype("float64")
    if column.dtype.kind != "O":
        return None
    values = column.dropna()
    if values.empty and is_text(column):
        return None
    if not values.map(type).isin((bool, int, float, Decimal)).all():
        return None
    return column.astype("object").where(column.notna(), None).astype("float64")


def as_categories(column: "pd.Series") -> "pd.Series":
    """The values as text, None where one is missing; a whole number has no point, whatever type it has."""
    import pandas as pd

    if is_text(column):
        return column.astype(object).where(column.notna(), None)
    if isinstance(column.dtype, pd.CategoricalDtype):
        return as_categories(column.astype(column.cat.categories.dtype))
    numbers = as_numbers(column)
    if numbers is not None and not _is_boolean(column) and (numbers.dropna() % 1 == 0).all():
        column = numbers.astype("Int64")
    return column.astype(object).map(str, na_action="ignore").where(column.notna(), None)


def as_labels(column: "pd.Series") -> "pd.Series":
    """The classes: whole numbers, booleans and text as they are; anything else as its text.

    :param column: none is missing.
    """
    import pandas as pd

    if isinstance(column.dtype, pd.CategoricalDtype):
        column = column.astype(column.cat.categories.dtype)
    if _is_boolean(column):
        return column.astype(bool)
    if column.dtype.kind in "iu":
        return column.astype("int64" if column.dtype.kind == "i" else "uint64")
    if column.dtype.kind == "f" and (column % 1 == 0).all():
        return column.astype("float64")
    return column.map(str).astype(str)


def is_text(column: "pd.Series") -> bool:
    """Whether all values are text."""
    import pandas as pd

    if isinstance(column.dtype, pd.CategoricalDtype):
        return is_text(column.cat.categories.to_series())
    return isinstance(column.dtype, pd.StringDtype) or (
        column.dtype.kind == "O"
        and bool(column.notna().any())
        and bool(column.dropna().map(lambda value: type(value) is str).all())
    )


def what_else(column: "pd.Series") -> str:
    """What a column holds that is neither numbers nor text, and an example."""
    if column.dtype.kind in "Mm":
        return "dates" if column.dtype.kind == "M" else "durations"
    values = column.dropna()
    kind = type(values.iloc[0]) if len(values) else type(None)
    return next((what for one, what in OTHERS.items() if issubclass(kind, one)), f"values of type {kind.__name__}")


def are_dates(texts: "pd.Index | Any") -> bool:
    """Whether some different values of a column of text are all dates or times."""
    shown = list(texts[:LOOKED_AT])
    return bool(shown) and all(DATE.fullmatch(str(text).strip()) for text in shown)


def number_like(texts: "pd.Series") -> "pd.Series":
    """Which texts are numbers, with whatever decimal mark."""
    return texts.str.strip().str.fullmatch(f"({PLAIN})|({COMMA})")


def _is_boolean(column: "pd.Series") -> bool:
    import pandas as pd

    return column.dtype.kind == "b" or isinstance(column.dtype, pd.BooleanDtype)
