"""Writing the lineage of runs to the store: once per run, and again if its tasks were cleared."""

from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from include.errors import DataError
from include.lineage.collected import MARK, collected_run, collected_version
from include.lineage.lineage_store import LineageStore
from include.lineage.manifest import Manifest, documents, parse
from include.lineage.run_keys import BY_TIME, MANIFEST, REPORT, VERDICT, RunKey, index_keys, key_of
from include.store.lock import leased


class LineageRecorder(LineageStore):
    """The lineage in one bucket, to be added to. Raises as `LineageStore` does."""

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
        for key in index_keys(manifest):
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
        for key in set(index_keys(before)) - set(index_keys(manifest)) if before else ():
            if key.startswith(BY_TIME):
                self.s3.delete_object(Bucket=self.bucket, Key=key)
            else:
                self._put(key, revision.encode())

    def _put(self, key: str, content: bytes) -> None:
        self.s3.put_object(Bucket=self.bucket, Key=key, Body=content)


def _facts(manifest: Manifest) -> dict[str, Any]:
    """What distinguishes one result from another: a retry of a task does not."""
    return manifest.model_dump(exclude={"recorded_at": True, "airflow": {"try_number", "started_at"}})
