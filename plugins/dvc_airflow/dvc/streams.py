"""Objects streamed into and out of an S3 remote: many small ones at once, large ones part by part, in little memory.

DVC's own client holds up to ten parts of 50 MiB of a file in memory.
"""

import asyncio
import os
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from threading import Semaphore
from typing import TYPE_CHECKING

from dvc_airflow.dvc.s3 import S3Client
from dvc_airflow.dvc.transfer import Found

if TYPE_CHECKING:
    from obstore import ObjectMeta

PART = 5 * 1024 * 1024  # bytes; what is larger goes in parts of this size
MOST_PARTS = 10_000  # of one object, by S3's rules
PARTS_AT_ONCE, LARGE_AT_ONCE = 4, 2
# What goes in one piece is in memory as a whole: so many at once, up to so many bytes.
AT_ONCE = {512 * 1024: 64, PART: 8}


class Streams:
    """A `Transfer` by the client of an S3 remote. Paths begin with the bucket."""

    is_listed = True

    def __init__(self, client: S3Client) -> None:
        self._bucket, self._reader, self._writer = client.bucket, client.reader, client.writer
        self._large = Semaphore(LARGE_AT_ONCE)
        self._begun: Future[None] | None = None

    def info(self, path: str) -> Found | None:
        """See `Transfer`."""
        try:
            return _found(self._reader.head(self._key(path)))
        except FileNotFoundError:
            return None

    def listing(self, folder: str) -> dict[str, Found]:
        """See `Transfer`."""
        found: Sequence[ObjectMeta] = self._reader.list(prefix=self._key(folder)).collect()
        return {f"{self._bucket}/{one['path']}": _found(one) for one in found}

    def get(self, path: str, file: Path) -> None:
        """See `Transfer`."""
        key = self._key(path)
        found = self._reader.get(key)
        if (size := found.meta["size"]) <= PART:
            file.write_bytes(found.bytes())
            return
        del found  # its connection
        with self._large, open(file, "wb") as stream, ThreadPoolExecutor(PARTS_AT_ONCE) as pool:

            def get(start: int) -> None:
                piece = self._reader.get_range(key, start=start, end=min(start + PART, size))
                os.pwrite(stream.fileno(), piece, start)

            list(pool.map(get, range(0, size, PART)))

    def put(self, files: Sequence[tuple[str, str]]) -> None:
        """See `Transfer`."""
        from fsspec.asyn import get_loop

        self._begun = asyncio.run_coroutine_threadsafe(self._put_all(files), get_loop())
        try:
            self._begun.result()
        except ExceptionGroup as group:
            raise group.exceptions[0] from None
        finally:
            self.end()  # an interrupt leaves it at work

    def end(self) -> None:
        """See `Transfer`. A request that sends data may take long, so that no time-out finds a silent remote."""
        if self._begun is not None:
            self._begun.cancel()

    async def _put_all(self, files: Sequence[tuple[str, str]]) -> None:
        gates = {limit: asyncio.Semaphore(count) for limit, count in AT_ONCE.items()}
        large = asyncio.Semaphore(LARGE_AT_ONCE)

        async def put(file: str, key: str) -> None:
            size = Path(file).stat().st_size
            async with next((gate for limit, gate in gates.items() if size <= limit), large):
                await self._put(file, key, size)

        async with asyncio.TaskGroup() as group:
            for file, path in files:
                group.create_task(put(file, self._key(path)))

    async def _put(self, file: str, key: str, size: int) -> None:
        part = max(PART, -(-size // MOST_PARTS))
        try:
            await self._writer.put_async(key, Path(file), chunk_size=part, max_concurrency=PARTS_AT_ONCE)
        except Exception:
            # Another task that put the same object has aborted this upload of it, see `clear_uploads`.
            with suppress(Exception):
                if (await self._reader.head_async(key))["size"] == size:
                    return
            raise

    def _key(self, path: str) -> str:
        return path.removeprefix(f"{self._bucket}/")


def _found(meta: "ObjectMeta") -> Found:
    return Found(meta["size"], (meta["e_tag"] or "").strip('"'))
