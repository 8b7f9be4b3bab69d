"""A lock in the object store, for what workers on several machines may do one at a time only."""

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from include.errors import ServiceError
from include.store.client import error_code

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

FOLDER = "locks"
LEASE = 60.0  # seconds after which a lock counts as left behind by a process that was killed
PATIENCE = 300.0  # seconds
PAUSE = 0.2  # seconds between two tries
# https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html
_TAKEN = ("PreconditionFailed", "412", "ConditionalRequestConflict", "409")


class Lease:
    """A lock that is held. ``is_released_at_end``: not left to others until its lease has expired."""

    is_released_at_end = True

    def __init__(self, s3: "S3Client", bucket: str, key: str, etag: str, token: bytes) -> None:
        self._s3, self._bucket, self._key, self._etag, self._token = s3, bucket, key, etag, token
        self._since = time.monotonic()

    def keep(self) -> None:
        """Extend it if much of the lease is over: to be called now and then during work that takes long.

        :raises ServiceError: it was not held any more.
        """
        if time.monotonic() - self._since > LEASE / 3:
            self.extend()

    def extend(self) -> None:
        """Hold it for another lease: to be called before each step that others must not do at the same time.

        :raises ServiceError: it was not held any more; nothing of the step was done.
        """
        from botocore.exceptions import ClientError

        try:
            body = self._token + uuid4().hex.encode()  # another ETag than before
            answer = self._s3.put_object(Bucket=self._bucket, Key=self._key, Body=body, IfMatch=self._etag)
        except ClientError as error:
            if error_code(error) in (*_TAKEN, "NoSuchKey", "404"):
                raise ServiceError(f"the lock {self._key} was taken over by another process. Run this again.") from None
            raise
        self._etag, self._since = answer["ETag"], time.monotonic()

    def release(self) -> None:
        """Release it."""
        from botocore.exceptions import BotoCoreError, ClientError

        # It was taken over after its lease, or will be: what was done under it stands.
        with suppress(ClientError, BotoCoreError):
            self._s3.delete_object(Bucket=self._bucket, Key=self._key, IfMatch=self._etag)


class HeldError(ServiceError):
    """Another process holds the lock."""


@contextmanager
def leased(
    s3: "S3Client", bucket: str, name: str, *, folder: str = FOLDER, patience: float = PATIENCE
) -> Iterator[Lease]:
    """Hold the lock of a name; wait while another process holds it.

    :param patience: how long to wait, in seconds.
    :raises HeldError: it is still held then.
    """
    key, token, end = f"{folder}/{name}", uuid4().hex.encode(), time.monotonic() + patience
    while True:
        began = time.monotonic()
        etag = _put(s3, bucket, key, token, IfNoneMatch="*") or _take_over(s3, bucket, key, token)
        if etag:
            break
        if began > end:
            raise HeldError(
                f"s3://{bucket}/{key} has been held by another process for more than {patience:.0f} s. Try again later."
            )
        time.sleep(PAUSE)
    lease = Lease(s3, bucket, key, etag, token)
    try:
        yield lease
    finally:
        if lease.is_released_at_end:
            lease.release()


def _put(s3: "S3Client", bucket: str, key: str, token: bytes, **condition: Any) -> str | None:
    from botocore.exceptions import ClientError

    try:
        return s3.put_object(Bucket=bucket, Key=key, Body=token, **condition)["ETag"]
    except ClientError as error:
        if error_code(error) in (*_TAKEN, "NoSuchKey", "404"):
            return None
        raise


def _take_over(s3: "S3Client", bucket: str, key: str, token: bytes) -> str | None:
    """Take a lock whose lease has expired, because its owner was killed; or that is empty: a worker has broken it."""
    from botocore.exceptions import ClientError

    try:
        answer = s3.head_object(Bucket=bucket, Key=key)
    except ClientError as error:
        if error_code(error) in ("404", "NoSuchKey"):
            return None
        raise
    # Both by the store's clock: those of the workers may differ.
    age = (_now(answer) - answer["LastModified"]).total_seconds()
    is_free = age > LEASE or not answer["ContentLength"]
    return _put(s3, bucket, key, token, IfMatch=answer["ETag"]) if is_free else None


def _now(answer: Any) -> datetime:
    return parsedate_to_datetime(answer["ResponseMetadata"]["HTTPHeaders"]["date"])
