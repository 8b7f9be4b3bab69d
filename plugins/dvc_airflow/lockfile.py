"""Lock entries: which data a stage read and made, in DVC's own form."""

import hashlib
import io
import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, PlainSerializer, ValidationInfo
from ruamel.yaml import YAML

# What dvc.lock has of one stage: {"cmd": ..., "deps": [...], "params": {...}, "outs": [...]}
LockEntry = Mapping[str, Any]
# Lock entries by lock file and stage: {"dvc.lock": {"preprocess": {"cmd": ..., "deps": [...], "outs": [...]}}}
Lock = Mapping[str, Mapping[str, LockEntry]]

# How JSON holds what it has no form of its own for, see `to_json`.
PAIRS, NUMBER = "$pairs", "$number"


def merge_locks(locks: Iterable[Lock]) -> dict[str, dict[str, LockEntry]]:
    """Put the entries of several stages together."""
    merged: dict[str, dict[str, LockEntry]] = {}
    for lock in locks:
        for file, stages in lock.items():
            merged.setdefault(file, {}).update(stages)
    return merged


def lock_text(stages: Mapping[str, LockEntry]) -> str:
    """A dvc.lock with these stages, as DVC itself writes it."""
    stream = io.StringIO()
    yaml = YAML()
    yaml.default_flow_style = False
    yaml.dump({"schema": "2.0", "stages": _plain(stages)}, stream)
    return stream.getvalue()


def output_paths(lock: Lock) -> frozenset[str]:
    """The paths that the stages with these entries made."""
    return frozenset(
        out["path"] for stages in lock.values() for entry in stages.values() for out in entry.get("outs", [])
    )


def lock_file_of(dvc_yaml: str, root: Path) -> str:
    """The lock file that belongs to a dvc.yaml, relative to the project's root."""
    return Path(dvc_yaml).with_name("dvc.lock").resolve().relative_to(root.resolve()).as_posix()


def read_entry(lock_file: Path, name: str) -> dict[str, Any] | None:
    """A stage's entry in a lock file, None if it has none.

    :param name: of the stage, without the path of its dvc.yaml.
    """
    return read_stages(lock_file).get(name)


def read_stages(lock_file: Path) -> dict[str, dict[str, Any]]:
    """All entries of a lock file, by the names of their stages; none if the file does not exist."""
    if not lock_file.is_file():
        return {}
    document = YAML(typ="safe", pure=True).load(lock_file.read_text(encoding="utf-8")) or {}
    return {name: dict(entry) for name, entry in document.get("stages", {}).items()}


def to_json(value: Any) -> Any:
    """Lock entries as JSON can hold them, so that `from_json` gives back the same.

    Params may be mappings with numbers as keys (``class_weight: {0: 1.0, 1: 5.0}``), ``.nan`` and ``.inf``.
    """
    if isinstance(value, Mapping):
        if all(isinstance(name, str) for name in value) and value.keys().isdisjoint((PAIRS, NUMBER)):
            return {name: to_json(content) for name, content in value.items()}
        return {PAIRS: [[to_json(name), to_json(content)] for name, content in value.items()]}
    if isinstance(value, list | tuple):
        return [to_json(one) for one in value]
    if isinstance(value, float) and not math.isfinite(value):
        return {NUMBER: repr(value)}
    return value


def from_json(value: Any) -> Any:
    """What `to_json` was given.

    :raises ValueError: it was not made by that.
    """
    if isinstance(value, list):
        return [from_json(one) for one in value]
    if not isinstance(value, Mapping):
        return value
    if PAIRS in value:
        return {from_json(name): from_json(content) for name, content in value[PAIRS]}
    if NUMBER in value:
        return float(value[NUMBER])
    return {name: from_json(content) for name, content in value.items()}


def _decoded(value: Any, info: ValidationInfo) -> Any:
    return from_json(value) if info.mode == "json" else value


#: A `Lock` as the field of a model.
LockField = Annotated[dict[str, dict[str, dict[str, Any]]], BeforeValidator(_decoded), PlainSerializer(to_json)]


def digest(value: Any) -> str:
    """SHA-256 of anything that `to_json` takes, such as a lock entry."""
    return hashlib.sha256(json.dumps(to_json(value), sort_keys=True).encode()).hexdigest()


def _plain(value: Any) -> Any:
    """Without the classes of a YAML reader, and each part once, so that a dump has no anchors."""
    if isinstance(value, Mapping):
        return {name: _plain(content) for name, content in value.items()}
    return [_plain(one) for one in value] if isinstance(value, list | tuple) else value
