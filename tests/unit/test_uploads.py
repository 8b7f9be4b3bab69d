"""Which multipart uploads of a bucket are aborted; what the store answers is made up."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from fsspec.asyn import get_loop

from dvc_airflow.dvc.uploads import clear_uploads

OBJECT = "ab/0123456789abcdef0123456789abcd"
OLD, NEW = (datetime.now(UTC) - timedelta(days=days) for days in (8, 1))


class Store:
    """Has these uploads, and notes which are aborted."""

    def __init__(self, **uploads: datetime) -> None:
        self.loop, self.uploads, self.aborted = get_loop(), uploads, []

    async def _call_s3(self, method: str, **arguments: Any) -> dict[str, Any]:
        if method == "abort_multipart_upload":
            self.aborted.append(arguments["Key"])
            return {}
        assert method == "list_multipart_uploads"
        keys = [key for key in self.uploads if key.startswith(arguments["Prefix"])]
        return {"Uploads": [{"Key": key, "UploadId": "1", "Initiated": self.uploads[key]} for key in keys]}


@pytest.mark.parametrize("root", ["bucket", "bucket/dvc/files/md5"])
def test_old_ones_of_objects_and_those_of_complete_ones_are_aborted(root):
    prefix = f"{root}/".removeprefix("bucket/")
    complete = f"{prefix}ab/{'1' * 30}.dir"
    old, new = f"{prefix}{OBJECT}", f"{prefix}cd{OBJECT[2:]}"
    store = Store(**{complete: NEW, old: OLD, new: NEW, f"{prefix}backups/db.dump": OLD, f"{prefix}x/{OBJECT}": OLD})

    clear_uploads(store, root, {f"bucket/{complete}"})

    assert store.aborted == [complete, old]
