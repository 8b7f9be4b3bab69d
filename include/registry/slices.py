"""Groups of test rows that the gate looks at one by one: `registry.slices` of the configuration."""

from collections.abc import Callable, Sequence
from difflib import get_close_matches
from typing import TYPE_CHECKING, NamedTuple

from include.errors import DataError
from include.registry.paired import Pair
from include.registry.resampling import LEAST_LEVEL
from include.settings import RegistryConfig, SliceConfig
from include.tables.words import quoted, some

if TYPE_CHECKING:
    import pandas as pd

MOST_GROUPS = 50  # of a column
MISSING = "(missing)"  # the group of the rows where a column has no value
UNCHANGED = "No alias was changed."


class Group(NamedTuple):
    """Some test rows. ``metric`` is named without the part; ``label`` is how the verdict names it for these rows."""

    key: str
    label: str
    metric: str
    pair: Pair
    minimum: float | None
    tolerance: float | None


def groups(
    rule: RegistryConfig, target: str, pair: Pair, known: Sequence[str], table: "Callable[[], pd.DataFrame]"
) -> tuple[list[Group], list[str]]:
    """The groups that are large enough to be judged.

    :param pair: on all test rows.
    :param known: the classes that the models know.
    :param table: reads the test rows without the target, in the order of ``pair``; called if a column is needed.
    :return: the groups, and what a person should know of the others.
    :raises DataError: the rows have no such column, or too many different values of it, or too few rows of each; or
        there are more groups than can be compared at `registry.confidence`.
    """
    found: list[Group] = []
    warnings: list[str] = []
    features: pd.DataFrame | None = None
    for number, one in enumerate(rule.slices):
        key = f"registry.slices.{number}"
        if one.column == target:
            names = [pair.rows.classes[code] for code in pair.rows.actual.tolist()]
            absent = sorted(set(known) - set(names))
            warnings += [f"{key}: there is no test row of class {some(absent)}: not judged"] if absent else []
        else:
            features = table() if features is None else features
            names = _values(features, one.column, key, target)
        made, small = _groups_of(one, key, names, pair, rule.metric if one.column != target else "recall")
        found += made
        warnings += small
    _refuse_too_many(rule, sum(group.tolerance is not None for group in found))
    return found, warnings


def _refuse_too_many(rule: RegistryConfig, tested: int) -> None:
    """Groups that share a level (`Evidence.confidence_of_groups`) need one that simulation can show."""
    if rule.confidence is None or rule.evidence != "not_shown_worse":
        return
    most = int((1 - rule.confidence) / 2 / LEAST_LEVEL + 1e-9)
    if tested > most:
        raise DataError(
            f"registry.slices: {tested} groups of test rows have a tolerance, but at registry.confidence "
            f"{rule.confidence:g} at most {most} can be compared, for they share what chance may do. Name fewer "
            "columns, raise min_rows, lower registry.confidence, or set registry.evidence to non_inferiority. "
            f"{UNCHANGED}"
        )


def _groups_of(one: SliceConfig, key: str, names: list[str], pair: Pair, default: str) -> tuple[list[Group], list[str]]:
    import numpy as np

    values, codes, counts = np.unique(np.array(names), return_inverse=True, return_counts=True)
    if counts.max() < one.min_rows:
        largest = f"{one.column}={values[counts.argmax()]}"
        raise DataError(
            f"{key}: no group of column {quoted(one.column)} has {one.min_rows} test rows (min_rows): the largest, "
            f"{quoted(largest)}, has {counts.max()}. Choose a column with fewer values, or bin it in the source. "
            f"{UNCHANGED}"
        )
    small = [f"{one.column}={value}" for value, count in zip(values, counts, strict=True) if count < one.min_rows]
    warnings = [f"{key}: fewer than {one.min_rows} test rows (min_rows): {some(small)}: not judged"] if small else []
    found = []
    for code, (value, count) in enumerate(zip(values.tolist(), counts.tolist(), strict=True)):
        if count < one.min_rows:
            continue
        rows, label = pair.at(codes == code), _label(one, value, default)
        metric = "accuracy" if (one.metric or default) == "recall" else (one.metric or default).removeprefix("test_")
        if metric == "roc_auc_ovr" and len(set(rows.rows.actual.tolist())) < 2:
            warnings.append(f"{key}: the rows of {label} are of one class, and have no ROC AUC: not judged")
            continue
        found.append(Group(key, label, metric, rows, one.minimum, one.tolerance))
    return found, warnings


def _label(one: SliceConfig, value: str, default: str) -> str:
    name = (one.metric or default).removeprefix("test_")
    return f"test_{name}[{one.column}={value if len(value) <= 40 else value[:40] + '...'}]"


def _values(features: "pd.DataFrame", column: str, key: str, target: str) -> list[str]:
    from include.tables.columns import as_categories

    if column not in features.columns:
        have = [str(name) for name in features.columns]
        near = get_close_matches(column, [*have, target], n=1, cutoff=0.5)
        nearest = f" (did you mean {quoted(near[0])}?)" if near else ""
        raise DataError(
            f"{key}.column: the test rows have no column {quoted(column)}{nearest}. They have: {some(have)}; for a "
            f"group per class name the target, {quoted(target)}. A column in data.drop is not among them. {UNCHANGED}"
        )
    texts = as_categories(features[column]).fillna(MISSING)
    if (different := texts.nunique()) > MOST_GROUPS:
        raise DataError(
            f"{key}.column: {quoted(column)} has {different} different values in the test rows, and a group each would "
            f"be too many (at most {MOST_GROUPS}). Add a column to the source that bins them, and name that one here. "
            f"{UNCHANGED}"
        )
    return [str(text) for text in texts]
