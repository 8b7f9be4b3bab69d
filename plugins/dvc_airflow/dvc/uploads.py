"""Multipart uploads that were begun in an S3 remote and never ended: a task that is killed leaves its own.

A store bills their parts, and no listing of objects shows them.
"""

import logging
import re
from collections.abc import Collection, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

log = logging.getLogger(__name__)

ABANDONED_AFTER = timedelta(days=7)
# The key of an object below the folder: others may upload there too, if that is the root of a bucket.
OBJECT = re.compile(r"[0-9a-f]{2}/[0-9a-f]{30}(\.dir)?")


def clear_uploads(fs: Any, root: str, complete: Collection[str]) -> None:
    """Abort the uploads of objects that the remote has, and those that nobody can be working on any more.

    :param fs: of ``s3fs``.
    :param root: the remote's folder of objects, with the bucket.
    :param complete: the paths of objects that are there: a path stands for one content, so nothing is to be added.
    """
    from fsspec.asyn import sync

    def call(method: str, **arguments: Any) -> dict[str, Any]:
        answer: dict[str, Any] = sync(fs.loop, fs._call_s3, method, Bucket=bucket, **arguments)
        return answer

    def uploads() -> Iterator[dict[str, Any]]:
        marker: dict[str, Any] = {}
        while True:
            page = call("list_multipart_uploads", Prefix=f"{prefix}/".lstrip("/"), **marker)
            yield from page.get("Uploads", [])
            if not page.get("IsTruncated"):
                return
            marker = {"KeyMarker": page["NextKeyMarker"], "UploadIdMarker": page["NextUploadIdMarker"]}

    bucket, _, prefix = root.partition("/")
    count = 0
    try:
        for upload in list(uploads()):
            is_ours = OBJECT.fullmatch(upload["Key"].removeprefix(f"{prefix}/"))
            is_old = datetime.now(UTC) - upload["Initiated"] > ABANDONED_AFTER
            if f"{bucket}/{upload['Key']}" in complete or (is_ours and is_old):
                with suppress(FileNotFoundError):  # it has ended meanwhile
                    call("abort_multipart_upload", Key=upload["Key"], UploadId=upload["UploadId"])
                    count += 1
    except OSError as error:  # refused, or unknown to this store: the objects are there all the same
        log.info("Multipart uploads that were never ended may be left in %s: %s", root, error)
    if count:
        log.info("Aborted %s multipart uploads in %s that were never ended", count, root)
