"""A table from its source to a scored model, by the stages' own functions, without a server."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from sklearn.pipeline import Pipeline

from include.models.pipeline import fit
from include.settings import PipelineConfig, RuntimeSettings
from include.settings.config_file import apply_overrides, read_config_document, validate_config
from include.stages.get_data import fetch
from include.stages.preprocess import prepare_parts
from include.stages.score import score
from include.tables.columns import as_labels
from include.tables.parquet_file import read_parquet, write_parquet


@dataclass
class Trained:
    """What became of a table: ``train`` and ``test`` as the training reads them, the target last."""

    config: PipelineConfig
    pipeline: Pipeline
    summary: dict[str, Any]
    train: pd.DataFrame
    test: pd.DataFrame
    scores: dict[str, float]

    @property
    def classes(self) -> list[Any]:
        return self.pipeline.classes_.tolist()

    def parts(self) -> tuple[pd.DataFrame, pd.Series]:
        target = self.config.data.target
        return self.test.drop(columns=target), self.test[target]


def config_with(**values: Any) -> PipelineConfig:
    """The project's configuration with other values, such as ``**{"data.target": "y"}``."""
    return validate_config(apply_overrides(read_config_document(), values, "the test"))


def train(source: Path, **values: Any) -> Trained:
    """Train on a file; its name in the configuration is relative, as a user would write it."""
    config = config_with(**{"data.source": source.name, **values})
    folder = source.parent / "out"
    folder.mkdir(exist_ok=True)
    raw = folder / "raw.parquet"
    fetch(config.data, RuntimeSettings(), source.parent, str(raw))
    prepared, *parts = prepare_parts(str(raw), config)
    read = []
    for name, part in zip(("train", "test"), parts, strict=True):
        write_parquet(folder / f"{name}.parquet", part)
        read.append(read_parquet(folder / f"{name}.parquet"))
    target = config.data.target
    pairs = [(part.drop(columns=target), as_labels(part[target])) for part in read]
    pipeline = fit(*pairs[0], config.model)
    return Trained(config, pipeline, prepared.summary, *read, score(pipeline, *pairs[1]))
