"""The manifests in the store: written once per run, found by time, Airflow run, MLflow run or model version.

Below ``lineage/`` in the bucket:

- ``runs/<dag>/<run>/`` holds manifest.json, dvc.lock, config/config.yaml, verdict.json and report.html of a run;
- ``by-time/<time>/<dag>/<run>`` (newest first), ``by-mlflow-run/<id>/<time>/<dag>/<run>`` and
  ``by-version/<model>/<version>/<time>/<dag>/<run>`` are objects whose keys are the index: S3 lists keys in
  order, so that no look-up grows with the number of runs. They are empty, unless a run was cleared and had other
  results then: those of its earlier results name their folder;
- ``collected/`` says what `gc` removed, see `include.lineage.collected`.
"""

import json
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import islice
from typing import Any
from urllib.parse import quote, unquote

from include.errors import DataError
from include.lineage.collected import MARK, collected_at, collected_run, collected_version
from include.lineage.manifest import Manifest, documents, parse
from include.settings import PipelineConfig, RuntimeSettings
from include.store.client import body_of, client, translated_errors
from include.store.lock import leased
from include.store.stored_objects import StoredObjects

FOLDER = "lineage"
MANIFEST, VERDICT, REPORT = "manifest.json", "verdict.json", "report.html"
REQUESTS_AT_ONCE = 8
_END_OF_TIME = 10**13  # milliseconds; what is subtracted from it sorts the newest first


@dataclass(frozen=True, order=True)
class RunKey:
    """A run of a DAG. ``revision`` is the folder of its results before it was cleared; empty: its last results."""

    dag_id: str
    run_id: str
    revision: str = ""

    def __str__(self) -> str:
        return self.run_id

    @property
    def path(self) -> str:
        """As a part of a key: quoted, so that a run id with a slash is one segment."""
        return f"{quote(self.dag_id, safe='')}/{quote(self.run_id, safe='')}"

    @classmethod
    def of_path(cls, path: str) -> "RunKey":
        """The inverse of `path`, from the end of a longer key."""
        dag_id, run_id = path.split("/")[-2:]
        return cls(unquote(dag_id), unquote(run_id))


@dataclass(frozen=True)
class Entry:
    """What is recorded of a run. ``problem`` says why there is no manifest."""

    run: RunKey
    manifest: Manifest | None
    verdict: dict[str, Any] | None = None
    problem: str | None = None


def key_of(run: RunKey, file: str) -> str:
    """Where a file of a run's lineage is in the bucket."""
    return f"{FOLDER}/runs/{run.path}/{run.revision}{file}"


class LineageStore:
    """The lineage in one bucket. Every method raises `AccessError` or `ServiceError` if the store cannot be used."""

    def __init__(self, config: PipelineConfig, runtime: RuntimeSettings) -> None:
        self.bucket, self.runtime, self.s3 = config.storage.bucket, runtime, client(runtime)

    def record(self, manifest: Manifest) -> str:
        """Write a run's lineage, and then its entries in the index.

        What was recorded of the same run before, with another result (its tasks were cleared), is kept beside it.

        :return: the manifest's key.
        """
        run = RunKey(manifest.airflow.dag_id, manifest.airflow.run_id)
        with self._translated_errors(f"lineage of {run}"):
            if self.collected(run) is None:
                self._write(run, manifest)
            if self.collected(run) is not None:  # or by now: a collection may have begun meanwhile
                self._record_collected(run, manifest)
            if manifest.model and self.get(key := collected_version(manifest.model.name, manifest.model.version)):
                self.s3.delete_object(Bucket=self.bucket, Key=key)
        return key_of(run, MANIFEST)

    def _write(self, run: RunKey, manifest: Manifest) -> None:
        self._keep_earlier(run, manifest)
        for file, text in documents(manifest).items():
            self._put(key_of(run, file), text.encode())
        for key in _index_keys(manifest):
            self._put(key, b"")

    def _record_collected(self, run: RunKey, manifest: Manifest) -> None:
        """Record a run that a collection removes, or has removed, if the store has all that it made.

        No collection deletes meanwhile: its mark is held here.
        """
        with leased(self.s3, self.bucket, MARK, folder=manifest.config["storage"]["prefix"]) as lease:
            try:
                self._require_objects(run, manifest)
            except DataError:
                if self.get(key := key_of(run, MANIFEST)) is not None:
                    self.s3.delete_object(Bucket=self.bucket, Key=key)
                raise
            lease.extend()
            self._write(run, manifest)
            self.s3.delete_object(Bucket=self.bucket, Key=collected_run(run.path))

    def add(self, run: RunKey, file: str, content: bytes) -> None:
        """Add a file that comes later than the manifest: the gate's verdict, the report."""
        with self._translated_errors(f"lineage of {run}"):
            self._put(key_of(run, file), content)

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
        for key in self._keys(f"{FOLDER}/by-time/", limit):
            runs.setdefault(RunKey.of_path(key), _time_of(key))
            if len(runs) == limit:
                break
        return runs

    def of_mlflow_run(self, mlflow_run_id: str) -> list[RunKey]:
        """The runs whose model is that of the MLflow run; the one that trained it first."""
        return self._indexed(f"{FOLDER}/by-mlflow-run/{quote(mlflow_run_id, safe='')}/")

    def of_version(self, name: str, version: str) -> list[RunKey]:
        """The runs whose model is the registered version; the one that registered it first."""
        return self._indexed(f"{FOLDER}/by-version/{quote(name, safe='')}/{quote(version, safe='')}/")

    def mlflow_runs_like(self, prefix: str) -> list[str]:
        """The MLflow runs whose id begins like this, at most ten."""
        return list(islice(self._folders(f"{FOLDER}/by-mlflow-run/", quote(prefix, safe="")), 10))

    def runs_like(self, prefix: str) -> list[RunKey]:
        """The runs of that Airflow run id; if there is none, those whose id begins like this, at most ten per DAG."""
        with self._translated_errors("runs"):
            exact = [RunKey(dag_id, prefix) for dag_id in self._folders(f"{FOLDER}/runs/") if prefix]
            found = [run for run in exact if self.get(key_of(run, MANIFEST)) is not None]
            return found or [
                RunKey(dag_id, run_id)
                for dag_id in self._folders(f"{FOLDER}/runs/")
                for run_id in islice(
                    self._folders(f"{FOLDER}/runs/{quote(dag_id, safe='')}/", quote(prefix, safe="")), 10
                )
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
        folder = f"{FOLDER}/collected/runs/{quote(dag_id, safe='')}/"
        return {RunKey.of_path(key) for key in self._keys(folder)}

    def collected_named(self, name: str, model_name: str) -> str | None:
        """When `gc` removed the run of this Airflow run id, or of this version of the model; None: it did not."""
        version = self.get(collected_version(model_name, name.removeprefix("v")))
        dags = self._folders(f"{FOLDER}/collected/runs/") if version is None else ()
        runs = (self.collected(RunKey(dag_id, name)) for dag_id in dags)
        return collected_at(version) or next(filter(None, runs), None)

    def _require_objects(self, run: RunKey, manifest: Manifest) -> None:
        """Refuse to record a run that was collected, and of which a task was cleared that makes nothing anew.

        :raises DataError: what it made is not there any more.
        """
        objects = self.objects_of(manifest)
        files, damages = objects.files(manifest.outputs)
        if damages := damages + objects.check(files):
            raise DataError(
                f"gc removed what run {run} had made, on {self.collected(run)}: {damages[0]}. Clear the run from its "
                "first task on, so that it is made again."
            )

    def _keep_earlier(self, run: RunKey, manifest: Manifest) -> None:
        """Move the earlier results of the same run, if they were different, into a folder of their own."""
        text = self.get(key_of(run, MANIFEST))
        if text is None:
            return
        try:
            before = parse(text, "")
        except DataError:
            before = None
        if before and _facts(before) == _facts(manifest):
            return
        revision = f"earlier/{quote(before.recorded_at if before else datetime.now(UTC).isoformat())}/"
        earlier = RunKey(run.dag_id, run.run_id, revision)
        for file in (*(documents(before) if before else ()), MANIFEST, VERDICT, REPORT):
            if (content := self.get(key_of(run, file))) is not None:
                self._put(key_of(earlier, file), content)
        for file in (VERDICT, REPORT):
            self.s3.delete_object(Bucket=self.bucket, Key=key_of(run, file))
        for key in set(_index_keys(before)) - set(_index_keys(manifest)) if before else ():
            if key.startswith(f"{FOLDER}/by-time/"):
                self.s3.delete_object(Bucket=self.bucket, Key=key)
            else:
                self._put(key, revision.encode())

    def _put(self, key: str, content: bytes) -> None:
        self.s3.put_object(Bucket=self.bucket, Key=key, Body=content)

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


def _facts(manifest: Manifest) -> dict[str, Any]:
    """What distinguishes one result from another: a retry of a task does not."""
    return manifest.model_dump(exclude={"recorded_at": True, "airflow": {"try_number", "started_at"}})


def _index_keys(manifest: Manifest) -> list[str]:
    run = RunKey(manifest.airflow.dag_id, manifest.airflow.run_id)
    started = int(datetime.fromisoformat(manifest.airflow.started_at).timestamp() * 1000)
    mlflow_run = quote(manifest.mlflow_run["run_id"], safe="")
    keys = [
        f"{FOLDER}/by-time/{_END_OF_TIME - started:013d}/{run.path}",
        f"{FOLDER}/by-mlflow-run/{mlflow_run}/{started:013d}/{run.path}",
    ]
    if manifest.model:
        version = f"{quote(manifest.model.name, safe='')}/{quote(manifest.model.version, safe='')}"
        keys.append(f"{FOLDER}/by-version/{version}/{started:013d}/{run.path}")
    return keys


def _time_of(key: str) -> datetime:
    """The time in a key of ``by-time/``."""
    milliseconds = _END_OF_TIME - int(key.split("/")[2])
    return datetime.fromtimestamp(milliseconds / 1000, UTC)
