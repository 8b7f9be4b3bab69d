"""Predictions for the rows of a table, with what they came from."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from include.errors import DataError
from include.models.inputs import inputs_of
from include.stages.score import predictions
from include.tables.words import some

if TYPE_CHECKING:
    import pandas as pd
    from sklearn.pipeline import Pipeline

PREDICTION, VERSION, MD5 = "prediction", "model_version", "data_md5"


@dataclass(frozen=True)
class Batch:
    """A table to score. ``md5`` is that of the bytes it was read from; ``format`` is csv or parquet.

    ``carried`` is what goes into the result: the same rows, a CSV's cells as the text that they were, a Parquet file's
    columns with the types that they have.
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
    predicted, probabilities = predictions(pipeline, inputs_of(pipeline, batch.table, f"scoring.input: {batch.source}"))
    columns = {PREDICTION: predicted}
    columns |= {f"probability_{name}": probabilities[:, number] for number, name in enumerate(pipeline.classes_)}
    taken = [name for name in (*columns, VERSION, MD5) if name in {*batch.carried.columns, *batch.carried.index.names}]
    if taken:
        raise DataError(f"{batch.source} has columns {some(taken)}, which the results need. Rename them.")
    return batch.carried.assign(**columns, **{VERSION: version, MD5: batch.md5})
