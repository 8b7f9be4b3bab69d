"""Numbers in text: which marks they have, and whether a column of text was meant as numbers."""

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from include.errors import DataError
from include.settings.pipeline import CsvConfig
from include.tables.words import quoted

if TYPE_CHECKING:
    import pandas as pd

# What pandas takes for missing by itself, in a column of numbers; in one of text these are words like others.
GAPS = ("", "NA", "N/A", "n/a", "#N/A", "NaN", "nan", "-nan", "-NaN", "NULL", "null", "None", "none", "<NA>", "-")
PLAIN = r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|[+-]?([iI]nf|[iI]nfinity|INF)"
COMMA = r"[+-]?(\d+,\d*|,\d+)([eE][+-]?\d+)?"
GROUPS = r"[+-]?\d{{1,3}}({0}\d{{3}})+"
THOUSANDS = {".": (",", "'", "_", " "), ",": (".", "'", "_", " ")}  # by decimal mark
BOOLEANS = {"true": True, "false": False}


@dataclass(frozen=True)
class Marks:
    """Decimal mark, and mark between groups of three digits (None: there is none)."""

    decimal: str = "."
    thousands: str | None = None


OTHER_MARKS = (Marks(), Marks(","), Marks(".", ","), Marks(",", "."), *(Marks(".", mark) for mark in "' _"))


def find_marks(sample: "pd.DataFrame", rules: CsvConfig, separator: str, key: str) -> Marks:
    """What the columns leave no doubt about, where the configuration says auto.

    A column that does not go with the others stays text; `include.tables.traps` names it.

    :param sample: some rows, every cell as text.
    :raises DataError: a column may be read in two ways, or contradicts what is configured, and no other decides.
    """
    columns = {str(name): distinct_cells(sample[name]) for name in sample.columns}
    decimal: str = rules.decimal
    if decimal == "auto":
        has_comma = rules.thousands != "," and any(_needs_comma(cells) for cells in columns.values())
        decimal = "," if has_comma else "."
    is_proven = any(_all(_pattern(Marks(decimal)), cells) and _has(decimal, cells) for cells in columns.values())
    doubtful = rules.decimal == rules.thousands == "auto" and separator == ";" and decimal == "."
    if doubtful and (found := [name for name, cells in columns.items() if _may_be_thousands(cells)]):
        raise DataError(_two_ways(found[0], next(cell for cell in columns[found[0]] if "." in cell), ".", key))
    thousands: str = rules.thousands
    if thousands == "auto":
        thousands = _mark_of_groups(columns.values(), decimal, is_proven or rules.decimal != "auto")
    marks = Marks(decimal, None if thousands == "none" else thousands)
    for name, cells in columns.items() if not is_proven else ():
        _refuse_other_marks(name, cells, marks, rules, key)
    return marks


def _has(mark: str, cells: Collection[str]) -> bool:
    return any(mark in cell for cell in cells)


def _may_be_thousands(cells: Collection[str]) -> bool:
    """Whether these may be thousands with a point, as in 900, 1.234 and 12.500: decimals would have as many places."""
    group = GROUPS.format("[.]")
    return _all(rf"[+-]?\d{{1,3}}|{group}", cells) and len({"." in cell for cell in cells}) == 2


def _two_ways(name: str, example: str, mark: str, key: str) -> str:
    other = "," if mark == "." else "."
    return (
        f"column {quoted(name)} has numbers like {quoted(example)}, which may be thousands or decimals: set "
        f"{key}.thousands to {mark!r} (and decimal to {other!r}), or {key}.decimal to {mark!r}"
    )


def distinct_cells(column: "pd.Series") -> list[str]:
    """The different texts of a column, without those that mean a missing value."""
    return [cell for cell in column.dropna().astype(str).str.strip().unique() if cell not in GAPS]


def _all(pattern: str, cells: Collection[str]) -> bool:
    return bool(cells) and all(re.fullmatch(pattern, cell) for cell in cells)


def _needs_comma(cells: Collection[str]) -> bool:
    """Whether these can only be numbers with a decimal comma: ``2,5``, ``1.234,56``."""
    pattern = rf"[+-]?\d+|{COMMA}|{GROUPS.format('[.]')},\d+"
    doubtful = rf"[+-]?\d+|{GROUPS.format(',')}"
    return _all(pattern, cells) and not _all(doubtful, cells)


def _mark_of_groups(columns: Iterable[Collection[str]], decimal: str, is_sure: bool) -> str:
    """The mark between groups of three digits, or none."""
    found = (mark for mark in THOUSANDS[decimal] for cells in columns if _grouped(cells, mark, decimal, is_sure))
    return next(found, "none")


def _grouped(cells: Collection[str], mark: str, decimal: str, is_sure: bool) -> bool:
    """Whether these can only be numbers with this mark between groups: ``1,234,567``, ``1,234.5``.

    :param is_sure: that the mark cannot be the decimal mark.
    """
    group, point = GROUPS.format(re.escape(mark)), re.escape(decimal)
    if not _all(rf"[+-]?\d+({point}\d+)?|{group}({point}\d+)?", cells):
        return False
    if is_sure or mark not in ",.":
        return any(mark in cell for cell in cells)
    return any(cell.count(mark) > 1 or (mark in cell and decimal in cell) for cell in cells)


def _refuse_other_marks(name: str, cells: Collection[str], marks: Marks, rules: CsvConfig, key: str) -> None:
    if not cells or _all(_pattern(marks), cells):
        return
    example = next(cell for cell in cells if not re.fullmatch(_pattern(marks), cell))
    if _all(rf"[+-]?\d+|{GROUPS.format(',')}", cells) and rules.decimal == rules.thousands == "auto":
        raise DataError(_two_ways(name, example, ",", key))
    for other in OTHER_MARKS:
        if _all(_pattern(other), cells):
            advice = f"{key}.decimal to {other.decimal!r}"
            if other.thousands or marks.thousands:
                advice += f" and {key}.thousands to {other.thousands or 'none'!r}"
            thousands = repr(marks.thousands) if marks.thousands else "none"
            raise DataError(
                f"column {quoted(name)} has numbers like {quoted(example)}, but the decimal mark is {marks.decimal!r} "
                f"and the thousands mark {thousands}: set {advice}"
            )


def _pattern(marks: Marks) -> str:
    """A number with these marks."""
    point = re.escape(marks.decimal)
    plain = PLAIN if marks.decimal == "." else rf"[+-]?\d+|{COMMA}"
    return f"{plain}|{GROUPS.format(re.escape(marks.thousands))}({point}\\d+)?" if marks.thousands else plain


def plain_numbers(column: "pd.Series", marks: Marks) -> "pd.Series":
    """Text as floats; NaN where it is not a number with these marks, as in ``1.2.3``.

    :param column: of text.
    """
    import pandas as pd

    text = column.str.strip()
    if marks != Marks():
        text = text.where(text.str.fullmatch(f"({_pattern(marks)})").fillna(False).astype(bool))
    if marks.thousands:
        text = text.str.replace(marks.thousands, "", regex=False)
    if marks.decimal != ".":
        text = text.str.replace(marks.decimal, ".", regex=False)
    return pd.to_numeric(text, errors="coerce").astype(float)


def is_padded(cells: Collection[str]) -> bool:
    """Whether digits have leading zeros that a number would lose: ``007``, ``01234``."""
    return any(re.fullmatch(r"[+-]?0\d+([.,]\d+)?", cell) for cell in cells)
