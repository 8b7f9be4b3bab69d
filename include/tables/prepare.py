"""From a raw table to features and target: which column is used as what, what is refused, what is warned of."""

from collections.abc import Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, Literal

from include.errors import DataError
from include.settings import DataConfig
from include.tables.columns import as_categories, as_labels, as_numbers, is_text, what_else
from include.tables.traps import (
    Trap,
    gaps,
    numeric_traps,
    plain_name,
    separates,
    similar_labels,
    target_traps,
    text_traps,
)
from include.tables.words import quoted, some, yaml_list

if TYPE_CHECKING:
    import pandas as pd

MOST_NAMES = 40  # in a list that is to be copied into the configuration

Role = Literal["numeric", "categorical"]


@dataclass(frozen=True)
class Prepared:
    """The table to train on: numeric features as floats, categories as text, the target last."""

    table: "pd.DataFrame"
    summary: dict[str, Any]


def prepare(raw: "pd.DataFrame", data: DataConfig) -> Prepared:
    """Make a table that a classifier can be trained on.

    :param raw: one row per sample, as the source has it; it is taken apart.
    :return: the table, and what each column is used as, with warnings.
    :raises DataError: names all that is wrong, and what to set; the message lacks the source's name.
    """
    import pandas as pd

    raw.columns = [str(name) for name in raw.columns]
    label = raw.pop(data.target)
    names = [name for name in raw.columns if name not in set(data.drop or ())]
    problems = target_traps(label, len(raw))
    if not names:
        problems.append(
            f"there is no feature column besides the target{' and those in data.drop' if data.drop else ''}"
        )
    traps: list[Trap] = _namesakes(names, data.target)
    roles: dict[str, Role] = {}
    columns: dict[str, pd.Series] = {}
    for name in names if not problems else []:
        role, column, found = _feature(name, raw.pop(name), data)
        traps += [trap for trap in found if not (trap.keep and name in (data.keep or ()))]
        if role:
            roles[name], columns[name] = role, column
    if problems or traps:
        raise DataError(_message(problems, traps, data))
    table = pd.DataFrame({**columns, data.target: as_labels(label)}, copy=False)
    return Prepared(table, _summary(table, roles, data))


def _feature(name: str, column: "pd.Series", data: DataConfig) -> tuple[Role | None, Any, list[Trap]]:
    """Its use, its values for that, and what is wrong with it."""
    named = data.categorical != "auto" and name in (data.categorical or ())
    numbers = None if named else as_numbers(column)
    if numbers is not None:
        is_whole = column.dtype.kind in "iu"
        traps = numeric_traps(name, numbers, is_whole=is_whole, most_missing=data.max_missing_share)
        return "numeric", numbers, traps
    if not named and not is_text(column):
        if column.isna().all():
            return None, None, gaps(name, 1, data.max_missing_share)
        advice = "put numbers or text made of them into the source"
        return None, None, [Trap(name, f"has {what_else(column)}, which no feature can be", advice=advice)]
    texts = as_categories(column)
    traps = text_traps(name, texts, is_named=named, most_missing=data.max_missing_share)
    if not named and data.categorical != "auto":
        traps = [Trap(name, "is text, and data.categorical does not name it", advice="name it there")]
    return "categorical", texts, traps


def require_columns(names: list[str], data: DataConfig) -> None:
    """Make sure that the columns which the configuration names are there.

    :param names: of all columns of the source.
    :raises DataError: one is not; the message lacks the source's name.
    """
    if data.target not in names:
        same = [name for name in names if plain_name(name) == plain_name(data.target)]
        near = same or get_close_matches(data.target, names, n=1)
        hint = f"Is it {quoted(near[0])}? Set data.target to that" if near else f"The columns are: {some(names)}"
        raise DataError(f"has no column {quoted(data.target)} (data.target). {hint}")
    for key in ("drop", "categorical", "keep"):
        wanted = getattr(data, key)
        for name in [] if wanted == "auto" else wanted or ():
            if name not in names:
                near = get_close_matches(name, names, n=1)
                hint = f"Is it {quoted(near[0])}?" if near else f"The columns are: {some(names)}"
                raise DataError(f"has no column {quoted(name)}, which data.{key} names. {hint}")


def _namesakes(names: list[str], target: str) -> list[Trap]:
    """Columns that are the target again, but for spaces or case in their names."""
    return [
        Trap(name, f"differs from the target {quoted(target)} only by spaces or case")
        for name in names
        if plain_name(name) == plain_name(target)
    ]


def _message(problems: list[str], traps: list[Trap], data: DataConfig) -> str:
    shown = [str(trap) for trap in traps[:8]]
    if len(traps) > len(shown):
        shown.append(f"{len(traps) - len(shown)} more columns have such problems")
    text = "cannot be trained on as it is: " + "; ".join([*problems, *shown])
    if not traps:
        return text
    drop = list(dict.fromkeys([*(data.drop or ()), *(trap.column for trap in traps)]))
    more = f" (and {len(drop) - MOST_NAMES} more)" if len(drop) > MOST_NAMES else ""
    text += f". To leave columns out, set data.drop: {yaml_list(drop[:MOST_NAMES])}{more}"
    keep = list(dict.fromkeys([*(data.keep or ()), *(trap.column for trap in traps if trap.keep)]))
    if any(trap.keep for trap in traps):
        text += f". To use one nevertheless, name it in data.keep: {yaml_list(keep[:MOST_NAMES])}"
    return text


def _summary(table: "pd.DataFrame", roles: dict[str, Role], data: DataConfig) -> dict[str, Any]:
    target = table[data.target]
    columns = []
    for name, role in roles.items():
        values = table[name]
        column: dict[str, Any] = {"name": name, "use": role, "missing": round(float(values.isna().mean()), 4)}
        columns.append({**column, "categories": int(values.nunique())} if role == "categorical" else column)
    classes = target.value_counts()
    return {
        "rows": len(table),
        "target": data.target,
        "classes": {str(label): int(count) for label, count in classes.head(100).items()},
        "columns": columns,
        "dropped": list(data.drop or ()),
        "warnings": list(_warnings(table, roles, target)),
    }


def _warnings(table: "pd.DataFrame", roles: dict[str, Role], target: "pd.Series") -> Iterator[str]:
    leaks = [name for name in roles if separates(table[name], target)]
    if leaks:
        yield (
            f"alone enough to tell every row's class, so perhaps not known before the fact: {some(leaks)} "
            "(if so, name it in data.drop)"
        )
    constant = [name for name in roles if table[name].nunique(dropna=False) == 1]
    if constant:
        yield f"the same value in every row: {some(constant)}"
    ids = [name for name, role in roles.items() if role == "numeric" and _all_different_and_whole(table[name])]
    if ids:
        yield f"a different whole number in each row, perhaps an id: {some(ids)} (if so, name it in data.drop)"
    for group in similar_labels([str(label) for label in target.unique()[:1000]]):
        yield f"classes that differ only by spaces or case: {some(group)}"


def _all_different_and_whole(column: "pd.Series") -> bool:
    return len(column) >= 20 and bool((column % 1 == 0).all()) and column.is_unique
