"""The bucket as a collection reads it: listings by page, and contents, each read once."""

import hashlib
import json
import re
import time
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from threading import Lock
from typing import Any

from include.collection.layout import Inventory, Stored
from include.errors import DataError, ServiceError
from include.lineage.lineage_store import LineageStore
from include.lineage.run_keys import FOLDER
from include.store.client import body_of, client, translated_errors
from include.store.lock import LEASE, Lease
from include.store.stored_objects import object_path

AT_ONCE = 16  # requests
EXTENDED_AFTER = LEASE / 6  # seconds
IMPATIENT = LEASE / 3  # seconds that a request may take that must have ended before a lease expires
REMOTE_FOLDERS = ("files/md5", "runs", "airflow/code", "airflow/runs", "airflow/last_run", "airflow/last")
MD5 = re.compile(r"[0-9a-f]{32}(\.dir)?")


class Bucket:
    """The bucket of the pipeline. Every method raises `AccessError` or `ServiceError` if it cannot be used.

    :param lineage: in the bucket.
    :ivar quick: a client that gives each request up before a lease expires, and repeats none.
    """

    def __init__(self, lineage: LineageStore) -> None:
        self.s3, self.name, self.runtime = lineage.s3, lineage.bucket, lineage.runtime
        self.quick = client(self.runtime, attempts=1, patience=IMPATIENT)
        self._read: dict[tuple[str, str], bytes] = {}
        self._leases: list[Lease] = []
        self._extended, self._extending = 0.0, Lock()

    @contextmanager
    def keeping(self, leases: list[Lease]) -> Iterator[None]:
        """Extend leases while the bucket is read in the block, however long that takes."""
        self._leases = leases
        try:
            yield
        finally:
            self._leases = []

    def extend(self) -> None:
        """Extend what `keeping` keeps, if that was not done just now."""
        with self._extending:
            if self._leases and time.monotonic() - self._extended > EXTENDED_AFTER:
                for lease in self._leases:
                    lease.extend()
                self._extended = time.monotonic()

    def now(self) -> datetime:
        """The store's clock."""
        with translated_errors(self.runtime, f"listing bucket {self.name}"):
            answer: Any = self.s3.list_objects_v2(Bucket=self.name, MaxKeys=1)
        return parsedate_to_datetime(answer["ResponseMetadata"]["HTTPHeaders"]["date"]).astimezone(UTC)

    def inventory(self, prefixes: Iterable[str]) -> Inventory:
        """What is there, of the remotes with these prefixes and of the lineage."""
        there = Inventory()
        places = [(prefix, f"{prefix}/{folder}/") for prefix in prefixes for folder in REMOTE_FOLDERS]
        with ThreadPoolExecutor(AT_ONCE) as pool:
            for (prefix, _), found in zip(
                places, pool.map(lambda place: list(self.list(place[1])), places), strict=True
            ):
                there.add_remote(prefix, found)
        there.add_lineage(self.list(f"{FOLDER}/"))
        return there

    def list(self, prefix: str) -> Iterator[Stored]:
        """All objects whose keys begin like this."""
        pages = self.s3.get_paginator("list_objects_v2").paginate(Bucket=self.name, Prefix=prefix)
        with translated_errors(self.runtime, f"listing s3://{self.name}/{prefix}"):
            for page in pages:
                self.extend()
                for item in page.get("Contents", []):
                    yield Stored(item["Key"], item["Size"], item["LastModified"], item["ETag"])

    def contents(self, some: Iterable[Stored]) -> dict[str, bytes]:
        """The contents of objects by key, read once each.

        :raises ServiceError: one was removed meanwhile: what it named is not known.
        """
        wanted = list(some)
        unread = [one for one in wanted if (one.key, one.etag) not in self._read]
        with ThreadPoolExecutor(AT_ONCE) as pool:
            for one, content in zip(unread, pool.map(lambda one: self.get(one.key), unread), strict=True):
                if content is None:
                    raise ServiceError(
                        f"s3://{self.name}/{one.key} was removed while gc read the bucket. Call it again."
                    )
                self._read[one.key, one.etag] = content
        return {one.key: self._read[one.key, one.etag] for one in wanted}

    def get(self, key: str) -> bytes | None:
        """The content of an object; None if there is none."""
        with translated_errors(self.runtime, f"s3://{self.name}/{key}"):
            self.extend()
            body = body_of(self.s3, self.name, key)
            return body.read() if body is not None else None

    def put_all(self, contents: Mapping[str, bytes]) -> None:
        """Write objects, by key."""

        def put(key: str) -> None:
            self.extend()
            self.s3.put_object(Bucket=self.name, Key=key, Body=contents[key])

        with translated_errors(self.runtime, f"writing into bucket {self.name}"), ThreadPoolExecutor(AT_ONCE) as pool:
            list(pool.map(put, contents))

    def members(self, copy: Stored, md5: str) -> frozenset[str]:
        """The objects that the list of a folder names.

        :raises DataError: it is not what it should be.
        """
        content = self.contents([copy])[copy.key]
        if hashlib.md5(content, usedforsecurity=False).hexdigest() != md5.removesuffix(".dir"):
            raise unreadable(self.name, copy.key, f"its content is not that of the folder {object_path(md5)}")
        try:
            return frozenset(str(one["md5"]) for one in json.loads(content))
        except (ValueError, KeyError, TypeError):
            raise unreadable(self.name, copy.key, "it is not the list of a folder") from None


def unreadable(bucket: str, key: str, why: str) -> DataError:
    """What is to be said of something that cannot be read: what it names could be deleted."""
    return DataError(
        f"s3://{bucket}/{key} cannot be read: {why}. What it names is not known. Restore the object; or, if what it is "
        "of need not be kept, remove it, and call gc again."
    )


def md5s_of_outs(lock: Mapping[str, Mapping[str, Any]]) -> frozenset[str]:
    """The MD5s of what a push may put into the remote, of the entries of stages by lock file.

    That is no input, and no output with an absolute path or an address. One that begins with ``..`` may be in the
    project: it is relative to the stage's folder, which no lock names.
    """
    outs = [out for stages in lock.values() for entry in stages.values() for out in entry.get("outs", ())]
    return md5s_in([out for out in outs if not out["path"].startswith("/") and "://" not in out["path"]])


def md5s_in(document: Any) -> frozenset[str]:
    """All MD5s that a lock entry, or whatever is made of such, names."""
    found: set[str] = set()
    left = [document]
    while left:
        one = left.pop()
        if isinstance(one, dict):
            left += one.values()
            if isinstance(md5 := one.get("md5"), str) and MD5.fullmatch(md5):
                found.add(md5)
        elif isinstance(one, list):
            left += one
    return frozenset(found)
