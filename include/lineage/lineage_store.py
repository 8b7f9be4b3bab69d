"""Reading the lineage of runs in the store: found by time, Airflow run, MLflow run or model version."""

import json
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import islice
from typing import Any
from urllib.parse import quote, unquote

from include.errors import DataError
from include.lineage.collected import FOLDER as COLLECTED
from include.lineage.collected import collected_at, collected_run, collected_version
from include.lineage.manifest import Manifest, documents, parse
from include.lineage.run_keys import (
    BY_MLFLOW_RUN,
    BY_TIME,
    MANIFEST,
    RUNS,
    VERDICT,
    RunKey,
    key_of,
    keys_of_mlflow_run,
    keys_of_version,
    time_of,
)
from include.settings import PipelineConfig, RuntimeSettings
from include.store.client import body_of, client, translated_errors
from include.store.stored_objects import StoredObjects

REQUESTS_AT_ONCE = 8


@dataclass(frozen=True)
class Entry:
    """What is recorded of a run. ``problem`` says why there is no manifest."""

    run: RunKey
    manifest: Manifest | None
    verdict: dict[str, Any] | None = None
    problem: str | None = None


class LineageStore:
    """The lineage in one bucket. Every method raises `AccessError` or `ServiceError` if the store cannot be used."""

    def __init__(self, config: PipelineConfig, runtime: RuntimeSettings) -> None:
        self.bucket, self.runtime, self.s3 = config.storage.bucket, runtime, client(runtime)

    def read(self, run: RunKey) -> Manifest:
        """The manifest of a run.

        :raises DataError: there is none, or it cannot be read.
        """
        key = key_of(run, MANIFEST)
        text = self.get(key)
        if text is None and (at := self.collected(run)):
            raise DataError(f"gc removed run {run} on {at}: nothing is recorded of it now.")
        if text is None:
            raise DataError(f"run {run}: s3://{self.bucket}/{key} does not exist. `runs` lists the recorded runs.")
        return parse(text, f"s3://{self.bucket}/{key}")

    def verdict(self, run: RunKey) -> dict[str, Any] | None:
        """The verdict of the gate on the run's model; None if there is none.

        :raises DataError: what is written there cannot be read.
        """
        key = key_of(run, VERDICT)
        text = self.get(key)
        try:
            found = dict(json.loads(text)) if text is not None else None
        except (ValueError, TypeError):
            found = {}
        if found is not None and not {"passed", "alias", "note", "table", "checks"} <= found.keys():
            raise DataError(f"s3://{self.bucket}/{key} is not a verdict: it was truncated or changed.")
        return found

    def objects_of(self, manifest: Manifest) -> StoredObjects:
        """The objects of the remote that the run pushed to."""
        storage = manifest.config["storage"]
        return StoredObjects(self.s3, self.runtime, storage["bucket"], storage["prefix"])

    def changed_documents(self, run: RunKey, manifest: Manifest) -> list[str]:
        """The files next to the manifest that differ from it, or are missing."""
        texts = {file: text for file, text in documents(manifest).items() if file != MANIFEST}
        return [file for file, text in texts.items() if self.get(key_of(run, file)) != text.encode()]

    def newest(self, limit: int) -> list[RunKey]:
        """The runs, newest first."""
        return list(self.started(limit))

    def started(self, limit: int) -> dict[RunKey, datetime]:
        """When each run started, of the newest runs, newest first."""
        runs: dict[RunKey, datetime] = {}
        for key in self._keys(BY_TIME, limit):
            runs.setdefault(RunKey.of_path(key), time_of(key))
            if len(runs) == limit:
                break
        return runs

    def of_mlflow_run(self, mlflow_run_id: str) -> list[RunKey]:
        """The runs whose model is that of the MLflow run; the one that trained it first."""
        return self._indexed(keys_of_mlflow_run(mlflow_run_id))

    def of_version(self, name: str, version: str) -> list[RunKey]:
        """The runs whose model is the registered version; the one that registered it first."""
        return self._indexed(keys_of_version(name, version))

    def mlflow_runs_like(self, prefix: str) -> list[str]:
        """The MLflow runs whose id begins like this, at most ten."""
        return list(islice(self._folders(BY_MLFLOW_RUN, quote(prefix, safe="")), 10))

    def runs_like(self, prefix: str) -> list[RunKey]:
        """The runs of that Airflow run id; if there is none, those whose id begins like this, at most ten per DAG."""
        with self._translated_errors("runs"):
            exact = [RunKey(dag_id, prefix) for dag_id in self._folders(RUNS) if prefix]
            found = [run for run in exact if self.get(key_of(run, MANIFEST)) is not None]
            return found or [
                RunKey(dag_id, run_id)
                for dag_id in self._folders(RUNS)
                for run_id in islice(self._folders(f"{RUNS}{quote(dag_id, safe='')}/", quote(prefix, safe="")), 10)
            ]

    def read_all(self, runs: Iterable[RunKey]) -> list[Entry]:
        """What is recorded of several runs; a manifest that cannot be read hides no other."""
        with ThreadPoolExecutor(REQUESTS_AT_ONCE) as pool:
            return list(pool.map(self._entry, runs))

    def _entry(self, run: RunKey) -> Entry:
        try:
            return Entry(run, self.read(run), self.verdict(run))
        except DataError as error:
            return Entry(run, None, problem=str(error))

    def get(self, key: str) -> bytes | None:
        """The content of an object of the bucket; None if there is none."""
        with self._translated_errors(f"s3://{self.bucket}/{key}"):
            body = body_of(self.s3, self.bucket, key)
            return body.read() if body is not None else None

    def collected(self, run: RunKey) -> str | None:
        """When `gc` removed what was recorded of a run (ISO 8601, UTC); None: it did not, or the run was made anew."""
        return collected_at(self.get(collected_run(run.path)))

    def all_collected(self, dag_id: str) -> set[RunKey]:
        """The runs of a DAG that `gc` removed, and that were not made anew."""
        folder = f"{COLLECTED}/runs/{quote(dag_id, safe='')}/"
        return {RunKey.of_path(key) for key in self._keys(folder)}

    def collected_named(self, name: str, model_name: str) -> str | None:
        """When `gc` removed the run of this Airflow run id, or of this version of the model; None: it did not."""
        version = self.get(collected_version(model_name, name.removeprefix("v")))
        dags = self._folders(f"{COLLECTED}/runs/") if version is None else ()
        runs = (self.collected(RunKey(dag_id, name)) for dag_id in dags)
        return collected_at(version) or next(filter(None, runs), None)

    def _indexed(self, prefix: str) -> list[RunKey]:
        runs = [(key, RunKey.of_path(key)) for key in self._keys(prefix)]
        return list(dict.fromkeys(replace(run, revision=(self.get(key) or b"").decode()) for key, run in runs))

    def _keys(self, prefix: str, at_once: int = 1000) -> Iterator[str]:
        pages = self.s3.get_paginator("list_objects_v2").paginate(
            Bucket=self.bucket, Prefix=prefix, PaginationConfig={"PageSize": max(1, min(at_once, 1000))}
        )
        with self._translated_errors(f"listing s3://{self.bucket}/{prefix}"):
            for page in pages:
                yield from (item["Key"] for item in page.get("Contents", []))

    def _folders(self, folder: str, prefix: str = "") -> Iterator[str]:
        """The names of the folders in a folder that begin like this, unquoted."""
        pages = self.s3.get_paginator("list_objects_v2").paginate(
            Bucket=self.bucket, Prefix=folder + prefix, Delimiter="/"
        )
        with self._translated_errors(f"listing s3://{self.bucket}/{folder}"):
            for page in pages:
                for item in page.get("CommonPrefixes", []):
                    yield unquote(item["Prefix"].removeprefix(folder).rstrip("/"))

    def _translated_errors(self, doing: str) -> Any:
        return translated_errors(self.runtime, doing)
