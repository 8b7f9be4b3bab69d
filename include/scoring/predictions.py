"""Predictions for the rows of a table, with what they came from."""

from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING

from include.errors import DataError

if TYPE_CHECKING:
    import pandas as pd
    from sklearn.pipeline import Pipeline

PREDICTION, VERSION, MD5 = "prediction", "model_version", "data_md5"


@dataclass(frozen=True)
class Batch:
    """A table to score. ``md5`` is that of the bytes it was read from; ``format`` is csv or parquet.

    ``carried`` is what goes into the result: the same table, a CSV's cells as the text that they were.
    """

    source: str
    md5: str
    format: str
    table: "pd.DataFrame"
    carried: "pd.DataFrame"


def predict(pipeline: "Pipeline", batch: Batch, version: str) -> "pd.DataFrame":
    """Predict the class of each row.

    :return: the batch's columns, prediction, a probability per class, model_version and data_md5.
    :raises DataError: columns are missing or not numeric, or have names that are needed for the results.
    """
    if not all(hasattr(pipeline, needed) for needed in ("feature_names_in_", "classes_", "predict_proba")):
        raise DataError(
            f"the champion, version {version}, is not a classifier with named columns and probabilities. "
            "Choose a champion that ml_pipeline trained."
        )
    features = _features(batch, [str(name) for name in pipeline.feature_names_in_])
    columns = {PREDICTION: pipeline.predict(features)}
    probabilities = pipeline.predict_proba(features)
    columns |= {f"probability_{name}": probabilities[:, number] for number, name in enumerate(pipeline.classes_)}
    taken = [name for name in (*columns, VERSION, MD5) if name in {*batch.table.columns, *batch.table.index.names}]
    if taken:
        raise DataError(f"{batch.source} has columns {', '.join(taken)}, which the results need. Rename them.")
    return batch.carried.assign(**columns, **{VERSION: version, MD5: batch.md5})


def _features(batch: Batch, wanted: list[str]) -> "pd.DataFrame":
    have = [str(name) for name in batch.table.columns]
    absent = []
    for name in wanted:
        if name not in have:
            others = {one.casefold(): one for one in have if one not in wanted}
            near = get_close_matches(name.casefold(), others, n=1)
            absent.append(f"{name}{f' (is it {others[near[0]]}?)' if near else ''}")
    if absent:
        raise DataError(
            f"{batch.source} lacks columns that the model needs: {', '.join(absent)}. It has: {', '.join(have)}. "
            "Rename or add them."
        )
    import pandas as pd

    return pd.DataFrame({name: _numbers(batch.table[name], batch.source) for name in wanted})


def _numbers(column: "pd.Series", source: str) -> "pd.Series":
    """As floats, NaN where there is nothing. Decimals and digits as text count, as in training, which goes by CSV.

    :raises DataError: a value is not a number, or infinite.
    """
    import numpy as np
    import pandas as pd

    if column.dtype.kind in "iufb":
        numbers = column.astype(float)
    elif column.dtype.kind == "O":
        numbers = pd.to_numeric(column.astype(object), errors="coerce").astype(float)
    else:
        numbers = pd.Series(np.nan, index=column.index)
    lost = column[(column.notna() & numbers.isna()).to_numpy()]
    if len(lost):
        raise DataError(f"{source}: column {column.name} is not numeric (contains {str(lost.iloc[0])[:80]!r}).")
    if np.isinf(numbers.to_numpy()).any():
        raise DataError(f"{source}: column {column.name} contains infinite values.")
    return numbers
