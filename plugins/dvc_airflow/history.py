"""What earlier runs left to know about a stage: its last result in a DAG, and which run made which result.

Small files beside the DVC cache. Airflow's own XComs cannot tell: with `include_prior_dates` a run without a logical
date comes before all others for ever.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote


class History:
    """The history in one cache.

    :param cache_dir: the DVC cache that the tasks share; None knows nothing and keeps nothing.
    """

    def __init__(self, cache_dir: Path | None) -> None:
        self._folder = cache_dir / "airflow" if cache_dir else None

    def last(self, dag_id: str, stage: str) -> dict[str, Any] | None:
        """The lock entry with which the stage ended most recently in this DAG, as ``entry``."""
        return self._read("last", dag_id, stage)

    def maker(self, entry: Mapping[str, Any]) -> dict[str, Any] | None:
        """Who executed the stage with this result: ``dag_id``, ``run_id`` and ``at`` (ISO 8601, UTC)."""
        return self._read("made", _digest(entry))

    def record(self, dag_id: str, run_id: str, stage: str, entry: Mapping[str, Any], *, executed: bool) -> None:
        """Remember how the stage ended in this run."""
        if executed:
            now = datetime.now(UTC).isoformat(timespec="seconds")
            self._write({"dag_id": dag_id, "run_id": run_id, "at": now}, "made", _digest(entry))
        self._write({"entry": entry}, "last", dag_id, stage)

    def _path(self, *names: str) -> Path | None:
        return self._folder.joinpath(*(quote(name, safe="") for name in names)) if self._folder else None

    def _read(self, *names: str) -> dict[str, Any] | None:
        path = self._path(*names)
        try:
            return json.loads(path.read_text(encoding="utf-8")) if path else None
        except (OSError, ValueError):
            return None  # it only explains: a history that is gone or broken must not stop a run

    def _write(self, content: Mapping[str, Any], *names: str) -> None:
        path = self._path(*names)
        if path is None:
            return
        with suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            part = path.with_name(f"{path.name}.{os.getpid()}.part")
            part.write_text(json.dumps(content), encoding="utf-8")
            os.replace(part, path)


def _digest(entry: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(entry, sort_keys=True).encode()).hexdigest()
