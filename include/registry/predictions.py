"""The recorded predictions of a model for the test rows, and those of two models side by side."""

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING

from include.errors import DataError
from include.registry.paired import Answers, Pair, Rows
from include.stages.score import PROBABILITY, aligned

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd


@dataclass(frozen=True)
class Predictions:
    """A model's predictions, as `include.stages.score.prediction_table` has them.

    :param actual, predicted: classes as text; shape (rows,).
    :param known: the classes that the model knows.
    :param probabilities: of these; shape (rows, known).
    """

    actual: "np.ndarray"
    predicted: "np.ndarray"
    known: tuple[str, ...]
    probabilities: "np.ndarray"

    @classmethod
    def of_table(cls, table: "pd.DataFrame") -> "Predictions":
        """From a table of predictions."""
        import numpy as np

        columns = [name for name in table.columns if name.startswith(PROBABILITY)]
        return cls(
            table["actual"].to_numpy().astype(str),
            table["predicted"].to_numpy().astype(str),
            tuple(name.removeprefix(PROBABILITY) for name in columns),
            np.asarray(table[columns], dtype=float),
        )

    @classmethod
    def of_file(cls, content: bytes, where: str) -> "Predictions":
        """From such a table in a Parquet file.

        :param where: of the file, for messages.
        :raises DataError: it is something else.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            return cls.of_table(pq.read_table(io.BytesIO(content)).to_pandas())
        except (pa.ArrowException, OSError, KeyError, ValueError) as error:
            raise DataError(f"{where} has no predictions of test rows: {error}") from None


def paired(champion: Predictions, challenger: Predictions) -> Pair:
    """Both models' answers to the same rows; to a class that a model does not know it gives probability 0.

    :raises DataError: they are of different rows.
    """
    import numpy as np

    if not np.array_equal(champion.actual, challenger.actual):
        raise DataError(
            "the recorded predictions of champion and challenger are not of the same test rows, or of another target. "
            "If data.target has changed, set another registry.model_name. No alias was changed."
        )
    actual = sorted(set(challenger.actual.tolist()))
    merely_predicted = sorted({*champion.predicted.tolist(), *challenger.predicted.tolist()} - set(actual))
    classes = (*actual, *merely_predicted)
    rows = Rows(classes, len(actual), _codes(challenger.actual, classes))
    return Pair(rows, *(_answers(one, classes, actual) for one in (champion, challenger)))


def _answers(model: Predictions, classes: tuple[str, ...], actual: list[str]) -> Answers:
    return Answers(_codes(model.predicted, classes), aligned(model.probabilities, list(model.known), actual))


def _codes(labels: "np.ndarray", classes: tuple[str, ...]) -> "np.ndarray":
    import numpy as np

    different, inverse = np.unique(labels, return_inverse=True)
    return np.array([classes.index(name) for name in different.tolist()], dtype=int)[inverse]
