"""Lock entries: which data a stage read and made, in DVC's own form."""

import hashlib
import io
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, overload

from ruamel.yaml import YAML

# What dvc.lock has of one stage: {"cmd": ..., "deps": [...], "params": {...}, "outs": [...]}
LockEntry = Mapping[str, Any]
# Lock entries by lock file and stage: {"dvc.lock": {"preprocess": {"cmd": ..., "deps": [...], "outs": [...]}}}
Lock = Mapping[str, Mapping[str, LockEntry]]


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
    yaml.dump({"schema": "2.0", "stages": json.loads(json.dumps(stages))}, stream)
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
    return {name: as_json(entry) for name, entry in document.get("stages", {}).items()}


@overload
def as_json(entry: LockEntry) -> dict[str, Any]: ...


@overload
def as_json(entry: None) -> None: ...


def as_json(entry: LockEntry | None) -> dict[str, Any] | None:
    """An entry as JSON can hold it: the keys of all mappings are texts."""
    return None if entry is None else dict(json.loads(json.dumps(entry)))


def digest(value: Any) -> str:
    """SHA-256 of anything that JSON can hold, such as a lock entry."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
