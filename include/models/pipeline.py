"""From columns to a classifier: the scikit-learn pipeline around the estimator of any kind."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from include.errors import ConfigError
from include.models.settings import ModelConfig, ModelSettings

if TYPE_CHECKING:
    import pandas as pd
    from sklearn.pipeline import Pipeline

COLUMNS, IMPUTE, SCALE, ENCODE, CLASSIFY = (
    "columns",
    "impute",
    "scale",
    "encode",
    "classify",
)  # the steps of the pipeline
NUMERIC, CATEGORICAL = "numeric", "categorical"  # the parts of the first step
MISSING = "(missing)"  # the category of an empty cell
RARE = "(rare)"  # the categories that are grouped; a category that the training did not see is one of them
MAX_CATEGORIES = 50  # encoded columns per feature, at most
PIECE = 100_000  # rows
MIN_SHARE = 0.002  # of the training rows; a category with fewer is rare


def build(model: ModelSettings, numeric: Sequence[str], categorical: Sequence[str]) -> "Pipeline":
    """The unfitted pipeline: numeric columns imputed and perhaps standardised, categories one-hot encoded, classified.

    A table of numbers alone needs no step that tells the columns apart.

    :param numeric, categorical: the names of the columns.
    """
    from sklearn.compose import ColumnTransformer
    from sklearn.pipeline import Pipeline

    numbers, classify = _numbers(model), (CLASSIFY, model.estimator())
    if not categorical:
        return Pipeline([*numbers, classify])
    parts: list[tuple[str, Any, list[str]]] = [(CATEGORICAL, _categories(model), list(categorical))]
    if numeric:
        parts.insert(0, (NUMERIC, Pipeline(numbers) if numbers else "passthrough", list(numeric)))
    density = 0.3 if model.takes_sparse else 0  # scikit-learn's default: denser than that, and the matrix is not sparse
    columns = ColumnTransformer(parts, sparse_threshold=density, verbose_feature_names_out=False)
    return Pipeline([(COLUMNS, columns), classify])


def _numbers(model: ModelSettings) -> list[tuple[str, Any]]:
    from sklearn.impute import SimpleImputer
    from sklearn.preprocessing import StandardScaler

    steps: list[tuple[str, Any]] = []
    if not model.takes_gaps:
        steps.append((IMPUTE, SimpleImputer(strategy="median", keep_empty_features=True)))
    if model.standardised:
        steps.append((SCALE, StandardScaler()))
    return steps


def _categories(model: ModelSettings) -> Any:
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import OneHotEncoder

    encoder = OneHotEncoder(
        handle_unknown="infrequent_if_exist",
        min_frequency=MIN_SHARE,
        max_categories=MAX_CATEGORIES,
        sparse_output=model.takes_sparse,
    )
    return Pipeline([(IMPUTE, SimpleImputer(strategy="constant", fill_value=MISSING)), (ENCODE, encoder)])


def fit(features: "pd.DataFrame", target: "pd.Series", model: ModelConfig) -> "Pipeline":
    """Fit the pipeline.

    :param features: shape (rows, features); columns of floats are numeric, of text categories.
    :param target: shape (rows,), the class of each row.
    :raises ConfigError: the hyperparameters do not fit each other or the data.
    """
    from pandas.api.types import is_numeric_dtype

    numeric = [name for name in features.columns if is_numeric_dtype(features[name])]
    categorical = [name for name in features.columns if name not in set(numeric)]
    pipeline = build(model.settings, numeric, categorical)
    try:
        if pipeline.named_steps.keys() >= {IMPUTE}:
            return _fit_numbers(pipeline, features, target)
        return pipeline.fit(features, target)
    except ValueError as error:
        raise ConfigError(f"model.{model.kind}: {error}") from None


def _fit_numbers(pipeline: "Pipeline", features: "pd.DataFrame", target: "pd.Series") -> "Pipeline":
    """The same as `Pipeline.fit`, with one copy of the table in memory instead of five."""
    import numpy as np
    import pandas as pd

    medians = [column.median() for _, column in features.items()]
    imputer = pipeline[IMPUTE].fit(pd.DataFrame([medians], columns=features.columns))
    values = np.empty(features.shape)
    pieces = [slice(start, start + PIECE) for start in range(0, len(features), PIECE)]
    for piece in pieces:
        values[piece] = imputer.transform(features.iloc[piece])
    if scaler := pipeline.named_steps.get(SCALE):
        for piece in pieces:
            scaler.partial_fit(values[piece])
        for piece in pieces:
            values[piece] = scaler.transform(values[piece])
    pipeline[CLASSIFY].fit(values, target)
    return pipeline


def known_categories(pipeline: "Pipeline") -> dict[str, set[str]]:
    """The columns that a fitted pipeline encodes, and the categories that it knows; none if it takes numbers alone."""
    columns = getattr(pipeline, "named_steps", {}).get(COLUMNS)
    return {
        str(name): {str(category) for category in categories}
        for part, encoder, names in getattr(columns, "transformers_", ())
        if part == CATEGORICAL
        for name, categories in zip(names, encoder[ENCODE].categories_, strict=True)
    }


def encoded_names(pipeline: "Pipeline") -> list[str]:
    """What the classifier's inputs are called: a numeric column by its name, a category ``Sex=female``."""
    if COLUMNS not in pipeline.named_steps:
        return [str(name) for name in pipeline.feature_names_in_]
    names: list[str] = []
    for part, transformer, columns in pipeline[COLUMNS].transformers_:
        if part == NUMERIC:
            names += map(str, columns)
        elif part == CATEGORICAL:
            encoder = transformer[ENCODE]
            rare = encoder.infrequent_categories_
            for column, categories, grouped in zip(columns, encoder.categories_, rare, strict=True):
                few = set() if grouped is None else set(grouped)
                names += [f"{column}={category}" for category in categories if category not in few]
                names += [f"{column}={RARE}"] if few else []
    return names
