"""What a stage's ``meta`` in dvc.yaml says, and in which lines."""

from functools import lru_cache
from pathlib import Path
from typing import Any

from dvc.stage import PipelineStage


class MetaError(Exception):
    """A stage's meta is wrong."""


def settings_of(stage: PipelineStage) -> dict[str, Any]:
    """``airflow`` and ``tags`` of the stage's meta as they stand there, and the line of each key of ``airflow``."""
    meta = stage.meta if isinstance(stage.meta, dict) else {}
    if "airflow" not in meta and "tags" not in meta:
        return {"airflow": None, "lines": {}, "tags": []}
    tags = meta.get("tags") or []
    if isinstance(tags, dict):
        raise MetaError(f"{stage.relpath}: stage {stage.name}: meta.tags is a list of texts, such as [nightly].")
    lines = _lines(stage.path, str(stage.name)) if "airflow" in meta else {}
    named = tags if isinstance(tags, list) else [tags]
    return {"airflow": meta.get("airflow"), "lines": lines, "tags": [str(tag) for tag in named]}


def _lines(file: str, name: str) -> dict[str, int]:
    """The line of each key of ``meta.airflow``, counted from 1; ``""`` is that of ``airflow`` itself.

    A key that an alias or a merge brings has none.
    """
    try:
        definition: Any = _document(file)["stages"][name.partition("@")[0]]
        meta: Any = definition.get("do", definition)["meta"]
        own: Any = meta["airflow"]
        keys = own if isinstance(own, dict) else {}
        return {"": meta.lc.key("airflow")[0] + 1, **{key: own.lc.key(key)[0] + 1 for key in keys}}
    except (KeyError, AttributeError, TypeError):
        return {}


@lru_cache(maxsize=64)
def _document(file: str) -> Any:
    from ruamel.yaml import YAML

    return YAML(typ="rt").load(Path(file).read_text(encoding="utf-8"))
