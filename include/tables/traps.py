"""What is wrong with a column, or suspicious about it, before a classifier is trained on it."""

import math
import re
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from include.tables.columns import are_dates, number_like, what_else
from include.tables.numbers import is_padded
from include.tables.words import quoted, some

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

ENOUGH = 20  # rows; in fewer, values that are all different mean nothing
MOST_CATEGORIES = 1000  # different texts of a feature
ALMOST_ALL = 0.5  # of the rows with a value have one of their own
LARGEST = 1e30  # of a number; its square has to be a float, and a float of 32 bits has to hold it
LONGEST = 1000  # characters of a category
BAD_CELLS = 0.5  # at most so many of a column of numbers are text; with more it is text
LOOKS_LIKE_ID = re.compile(r"(?i:(^|[_ .-])(id|key|nr|no|number|uuid|guid|index|idx)$)|[a-z](Id|ID|Key|Nr|No)$")


@dataclass(frozen=True)
class Trap:
    """What is wrong with a column, in words that follow its name.

    ``keep`` says whether `data.keep` overrules it, ``advice`` what else helps besides leaving the column out.
    """

    column: str
    what: str
    keep: bool = False
    advice: str = ""

    def __str__(self) -> str:
        return f"column {quoted(self.column)} {self.what}{f' ({self.advice})' if self.advice else ''}"


def numeric_traps(name: str, numbers: "pd.Series", *, is_whole: bool, most_missing: float) -> list[Trap]:
    """Of a column of numbers.

    :param numbers: floats, NaN where a value is missing.
    :param is_whole: whether the source has integers.
    :param most_missing: `data.max_missing_share`.
    """
    import numpy as np

    values = numbers.to_numpy()
    filled = values[~np.isnan(values)]
    traps = gaps(name, 1 - len(filled) / len(values), most_missing)
    if not len(filled):
        return traps
    largest = float(np.abs(filled).max())
    if np.isinf(largest):
        first = int(np.isinf(values).argmax()) + 1
        traps.append(Trap(name, f"contains infinite values, first in row {first}", advice="correct these values"))
    elif largest > LARGEST:
        traps.append(
            Trap(name, f"contains {largest:g}, which is too large to compute with", advice="correct the value")
        )
    elif is_whole or not (filled % 1).any():
        if _counts(name, filled):
            traps.append(Trap(name, "only counts the rows", keep=True))
        elif len(filled) >= ENOUGH and LOOKS_LIKE_ID.search(name) and len(np.unique(filled)) == len(filled):
            traps.append(Trap(name, "has a different value in each row, like an id", keep=True))
    return traps


def _counts(name: str, filled: "np.ndarray") -> bool:
    """Whether whole numbers are 0, 1, 2 ... or the like, in any order."""
    import numpy as np

    few = len(filled) < ENOUGH and not name.startswith("Unnamed: ")
    if few or len(filled) < 2 or filled.max() - filled.min() != len(filled) - 1:
        return False
    return len(np.unique(filled)) == len(filled)


def text_traps(name: str, texts: "pd.Series", *, is_named: bool, most_missing: float) -> list[Trap]:
    """Of a column of text.

    :param is_named: whether `data.categorical` names it.
    """
    filled = texts.dropna()
    traps = gaps(name, 1 - len(filled) / max(len(texts), 1), most_missing)
    if filled.empty:
        return traps
    longest = int(filled.str.len().max())
    if longest > LONGEST:
        return [*traps, Trap(name, f"has texts of up to {longest} characters, which are no categories")]
    distinct = filled.unique()
    if not is_named and are_dates(distinct):
        what = f"has dates or times like {quoted(distinct[0])}"
        return [
            *traps,
            Trap(name, what, advice="put numbers made of them into the source, or name it in data.categorical"),
        ]
    if not is_named and (bad := _bad_cells(filled)) is not None:
        return [*traps, bad]
    if len(filled) >= ENOUGH and len(distinct) == len(filled):
        traps.append(
            Trap(name, f"has a different text in each row ({some(distinct[:2])}), like a name or an id", keep=True)
        )
    elif len(distinct) > max(ALMOST_ALL * len(filled), ENOUGH):
        what = f"has {len(distinct)} different texts in {len(filled)} rows ({some(distinct[:2])}), like names or ids"
        traps.append(Trap(name, what, keep=True))
    elif len(distinct) > MOST_CATEGORIES:
        what = f"has {len(distinct)} different texts; up to {MOST_CATEGORIES} can be categories"
        traps.append(Trap(name, what, keep=True, advice="group them in the source"))
    return traps


def _bad_cells(filled: "pd.Series") -> Trap | None:
    """That most cells are numbers, and some are not: they are slips, or mean that a value is missing."""
    is_number = number_like(filled)
    bad = filled[~is_number]
    if bad.empty and filled.str.contains("[.,]").any() and not is_padded(filled.unique()):
        return Trap(
            str(filled.name),
            f"has numbers that are text ({some(filled.unique()[:4])})",
            advice="make them numbers in the source, in a CSV file with the marks of the other columns; or name the "
            "column in data.categorical",
        )
    few_names = filled.nunique() <= ENOUGH and bad.nunique() > 1  # 1, 2, 3A, 3B: names, some of which are digits
    if bad.empty or len(bad) > BAD_CELLS * len(filled) or few_names:
        return None
    shown = some(bad.unique())
    return Trap(
        str(filled.name),
        f"has numbers in {len(filled) - len(bad)} rows and text in {len(bad)} ({shown})",
        advice="correct those cells, add the text to data.csv.missing if it means that the value is missing, or name "
        "the column in data.categorical if it holds categories",
    )


def gaps(name: str, share: float, most: float) -> list[Trap]:
    """That too much is missing.

    :param share: of the column's values that are missing.
    :param most: `data.max_missing_share`.
    """
    if share == 1:
        return [Trap(name, "is empty")]
    if share > most:
        enough = min(math.ceil(share * 1000) / 1000, 0.999)
        advice = f"data.max_missing_share is {most:g}; {enough:g} allows it"
        return [Trap(name, f"lacks {share:.1%} of its values", advice=advice)]
    return []


def separates(column: "pd.Series", target: "pd.Series") -> bool:
    """Whether this feature alone tells the class of each row: numbers by intervals, texts by their value."""
    if len(column) < ENOUGH or column.isna().mean() > BAD_CELLS:
        return False
    filled = column.notna()
    if filled.sum() < ENOUGH or target[filled].nunique() < 2:
        return False
    groups = column[filled].groupby(target[filled], observed=True)
    if column.dtype.kind == "f":
        bounds = sorted(zip(groups.min(), groups.max(), strict=True))
        return all(lower[1] < upper[0] for lower, upper in pairwise(bounds))
    pairs = len(column[filled].to_frame("text").assign(label=target[filled]).drop_duplicates())
    return bool(pairs == column.nunique() <= ALMOST_ALL * len(column))


def target_traps(target: "pd.Series", rows: int) -> list[str]:
    """What is wrong with the column to predict."""
    from pandas.api.types import is_numeric_dtype

    name = quoted(target.name)
    if missing := int(target.isna().sum()):
        where = f"{missing} of {rows} rows, first in row {int(target.isna().to_numpy().argmax()) + 1}"
        return [f"the target {name} is missing in {where}; fill it in, or remove these rows"]
    if (target.dtype.kind == "O" and not isinstance(target.iloc[0], Hashable)) or isinstance(target.iloc[0], bytes):
        return [f"the target {name} has {what_else(target)}, which are no classes. Name another column in data.target"]
    classes = target.unique()
    if len(classes) < 2:
        return [f"the target {name} has {len(classes)} class; a classifier needs at least 2"]
    texts = target.astype(str)
    numbers = is_numeric_dtype(target) or bool(number_like(texts).all())
    fractions = numbers and bool(texts.str.contains(r"[.,]\d*[1-9]").any())
    if (fractions and len(classes) > ENOUGH) or (numbers and len(classes) > max(100, rows / 10)):
        what = f"the target {name} has {len(classes)} different numbers in {rows} rows, as for a regression"
        return [
            f"{what}; this pipeline trains classifiers. Name another column in data.target, or put classes in its place"
        ]
    if len(classes) > max(ALMOST_ALL * rows, ENOUGH):
        what = (
            f"the target {name} has {len(classes)} different classes in {rows} rows ({some(classes[:3])}), like an id"
        )
        return [f"{what}. Name another column in data.target"]
    return []


def similar_labels(labels: Sequence[str]) -> list[tuple[str, ...]]:
    """Groups of classes that differ only by spaces or case."""
    groups: dict[str, list[str]] = {}
    for label in labels:
        groups.setdefault(plain_name(label), []).append(label)
    return [tuple(group) for group in groups.values() if len(group) > 1]


def plain_name(name: str) -> str:
    """A name without what people overlook: spaces at the ends or doubled, and case."""
    return " ".join(name.split()).casefold()
