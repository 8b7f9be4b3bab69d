"""Batch scoring: a table, predicted by the champion, written back to the store with what it came from."""

import hashlib
import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from include.errors import DataError, PipelineError
from include.mlflow_client import CHAMPION, version_of_alias
from include.models.pipeline import known_categories
from include.registry.comparison import load_model
from include.scoring.predictions import PREDICTION, Batch, predict
from include.settings import PipelineConfig, RuntimeSettings
from include.stages.files import csv_of
from include.stages.get_data import load_builtin
from include.store.client import client, ensure_bucket, translated_errors
from include.store.sources import builtin_name, fill_date, kind, local_file
from include.tables.read import Origin, read_cells, read_table
from include.tables.unpack import unpacked

if TYPE_CHECKING:
    import pandas as pd
    from mlflow import MlflowClient


@dataclass(frozen=True)
class Scored:
    """What became of a batch. ``key`` is where the predictions are in the bucket; ``counts`` are rows per class."""

    name: str
    version: str
    source: str
    data_md5: str
    rows: int
    counts: dict[str, int]
    bucket: str
    key: str


def score_batch(
    config: PipelineConfig,
    runtime: RuntimeSettings,
    mlflow: "MlflowClient",
    run_id: str,
    moment: datetime,
    base_dir: Path,
) -> Scored:
    """Score ``scoring.input`` with the champion, and write the predictions below ``scoring.prefix`` in the bucket.

    :param run_id: names the folder of the predictions.
    :param moment: the date that ``scoring.input`` may ask for.
    :param base_dir: what a relative path is relative to.
    :raises DataError: the table does not fit the model, or there is no champion that can be loaded; nothing is written.
    """
    name, version = config.registry.model_name, champion(mlflow, config.registry.model_name)
    pipeline = load_model(name, version, f"the champion, version {version} of {name},")
    batch = read(config, runtime, moment, base_dir, list(known_categories(pipeline)))
    scored = predict(pipeline, batch, version)
    key = f"{config.scoring.prefix}/{quote(run_id, safe='')}/predictions.{batch.format}"
    with translated_errors(runtime, f"s3://{config.storage.bucket}/{key}"):
        s3 = client(runtime)
        ensure_bucket(s3, config.storage.bucket, runtime)
        s3.put_object(Bucket=config.storage.bucket, Key=key, Body=_bytes(scored, batch.format))
    counts = {str(label): int(count) for label, count in scored[PREDICTION].value_counts().items()}
    return Scored(name, version, batch.source, batch.md5, len(scored), counts, config.storage.bucket, key)


def read(
    config: PipelineConfig, runtime: RuntimeSettings, moment: datetime, base_dir: Path, categories: list[str]
) -> Batch:
    """Fetch the table.

    :param categories: columns whose text is not to be taken for numbers.
    :raises ConfigError, DataError: there is none at ``scoring.input``.
    """
    import pandas as pd

    rules = config.scoring
    with _about_scoring():
        source = fill_date(rules.input, moment)
        if kind(source) == "sklearn":
            table = load_builtin(builtin_name(source), config.data.target)
            return Batch(source, _md5(_bytes(table, "csv")), "csv", table, table)
        origin = Origin(source, rules.format, rules.csv, "scoring.input")
        with local_file(source, None, runtime, base_dir) as file:
            table = read_table(file.path, origin, categories)
            if origin.kind == "csv":
                return Batch(source, file.md5, "csv", table, read_cells(file.path, origin))
            with unpacked(file.path, source) as content:
                return Batch(source, file.md5, "parquet", table, pd.read_parquet(content, dtype_backend="pyarrow"))


def champion(mlflow: "MlflowClient", name: str) -> str:
    """The version that is champion now.

    :raises DataError: none is.
    """
    version = version_of_alias(mlflow, name, CHAMPION)
    if version is None:
        raise DataError(
            f"no version of model {name} (registry.model_name) is {CHAMPION}. Run ml_pipeline, or choose one with "
            "`python -m include promote VERSION`."
        )
    return version


def _bytes(table: "pd.DataFrame", file_format: str) -> bytes:
    if file_format == "csv":
        return csv_of(table)
    stream = io.BytesIO()
    table.to_parquet(stream)  # with the index, where it is more than the row's number
    return stream.getvalue()


def _md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


@contextmanager
def _about_scoring() -> Iterator[None]:
    """What reads training data reads the batch too; let its errors name this batch's keys."""
    try:
        yield
    except PipelineError as error:
        text = re.sub(r"\bdata\.source(?![\w-])", "scoring.input", str(error))
        raise type(error)(text) from None
