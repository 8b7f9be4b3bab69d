"""The columns that a fitted pipeline needs, from a table that may have others, in another order, of other types."""

from collections.abc import Collection
from difflib import get_close_matches
from typing import TYPE_CHECKING

from include.errors import DataError
from include.models.pipeline import known_categories
from include.tables.columns import as_categories, as_numbers, number_like
from include.tables.numbers import BOOLEANS
from include.tables.words import quoted, some

if TYPE_CHECKING:
    import pandas as pd
    from sklearn.pipeline import Pipeline


def inputs_of(pipeline: "Pipeline", table: "pd.DataFrame", source: str) -> "pd.DataFrame":
    """What the pipeline predicts from: numbers as floats, categories as text, as in the training.

    A category that the training did not see counts as one of the rare ones.

    :param source: of the table, for messages.
    :raises DataError: columns are missing, or are not numbers.
    """
    import pandas as pd

    wanted = [str(name) for name in getattr(pipeline, "feature_names_in_", table.columns)]
    have = [str(name) for name in table.columns]
    if absent := [name for name in wanted if name not in have]:
        near = [f"{quoted(name)}{_nearest(name, have, wanted)}" for name in absent[:8]]
        more = f" and {len(absent) - 8} more" if len(absent) > 8 else ""
        raise DataError(
            f"{source} lacks columns that the model needs: {', '.join(near)}{more}. It has: {some(have)}. "
            "Rename or add them."
        )
    categories = known_categories(pipeline)
    table = table.set_axis(have, axis=1)
    columns = {
        name: _known(as_categories(table[name]), categories[name])
        if name in categories
        else _numbers(table[name], source)
        for name in wanted
    }
    return pd.DataFrame(columns, index=table.index)


def _known(texts: "pd.Series", known: Collection[str]) -> "pd.Series":
    """The categories as the training has them: 1, 1.0 and 1.50 may stand for the same number, True and true too."""
    spelled = {found: name for name in known if (found := _value_of(name)) is not None}
    others = [text for text in texts.dropna().unique() if text not in known]
    return texts.replace({text: spelled[value] for text in others if (value := _value_of(text)) in spelled})


def _value_of(text: str) -> float | str | None:
    """The number or boolean that a text may stand for."""
    if text.casefold() in BOOLEANS:
        return text.casefold()
    try:
        return float(text)
    except ValueError:
        return None


def _nearest(name: str, have: list[str], wanted: list[str]) -> str:
    others = {" ".join(one.split()).casefold(): one for one in have if one not in wanted}
    near = get_close_matches(" ".join(name.split()).casefold(), others, n=1)
    return f" (is it {quoted(others[near[0]])}?)" if near else ""


def _numbers(column: "pd.Series", source: str) -> "pd.Series":
    """As floats, NaN where there is nothing; digits that are text count.

    :raises DataError: a value is not a number, or infinite.
    """
    import numpy as np
    import pandas as pd

    numbers = as_numbers(column)
    if numbers is None:
        values = column.astype(object) if column.dtype.kind == "O" else column.astype(str)
        numbers = pd.to_numeric(values, errors="coerce").astype(float)
    lost = column[(column.notna() & numbers.isna()).to_numpy()]
    if len(lost):
        texts = lost.astype(str)
        odd = texts[~number_like(texts)]  # one text in a column makes pandas read its decimal commas as text too
        example = quoted((odd if len(odd) else texts).iloc[0])
        raise DataError(
            f"{source}: column {quoted(column.name)} is not numeric (contains {example}). Correct that, or add it to "
            "scoring.csv.missing if it means that the value is missing."
        )
    if np.isinf(numbers.to_numpy()).any():
        raise DataError(f"{source}: column {quoted(column.name)} contains infinite values.")
    return numbers
