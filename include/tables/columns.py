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
    """The values as text, NaN where one is missing; a whole number has no point, whatever type it has."""
    import pandas as pd

    if isinstance(column.dtype, pd.CategoricalDtype):
        return as_categories(column.astype(column.cat.categories.dtype))
    values = column.astype(object)
    # NaN and not None, here as after a stay in a file: scikit-learn's imputer takes nothing else for a gap.
    return values.map(value_as_text, na_action="ignore").where(column.notna(), float("nan")).astype(object)


def value_as_text(value: Any) -> str:
    """A category or class as text: 1 and 1.0 are the same."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


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
    if column.dtype == "float32":  # 0.1 as it is written, not as a longer number is nearest to it
        return pd.Series(column.to_numpy().astype(str), index=column.index, name=column.name)
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
    if kind.__name__ == "ndarray":  # of Parquet's lists
        return "lists"
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
