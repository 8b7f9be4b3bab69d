"""Delete what a plan names: in an order that a kill leaves consistent, beside runs that go on.

What names something else goes before that, and one kind after the other. So whatever is still listed is whole, however
the collection ends, and the next one finds the rest by the same rules. See `dvc_airflow.collecting` for what holds a
run and a collection apart.
"""

import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from include.collection.layout import MARK, Kind, Stored
from include.collection.plan import HELD, Plan, Planner
from include.collection.store import Bucket
from include.errors import AccessError, ServiceError
from include.lineage.collected import REMOTES, collected_run, collected_version, note
from include.lineage.lineage_store import FOLDER as LINEAGE
from include.lineage.lineage_store import RunKey
from include.store.client import translated_errors
from include.store.lock import HeldError, Lease, leased

if TYPE_CHECKING:
    from mypy_boto3_s3.type_defs import ObjectIdentifierTypeDef

BATCH = 1000  # keys; the most that S3 deletes by one request
UNUSED = "may-gc-delete"  # the name of an object that does not exist
TRIES, PAUSE = 5, 2.0  # and seconds in between, where pushes are at work
ROUND = 20_000  # keys; then pushes that wait may go on, and the plan is made anew


@dataclass
class Swept:
    """What was deleted: how many, and how many bytes, by kind. ``waiting`` is that of the last plan."""

    counts: dict[Kind, int] = field(default_factory=dict)
    sizes: dict[Kind, int] = field(default_factory=dict)
    waiting: Collection[str] = ()

    def add(self, kind: Kind, some: Sequence[Stored]) -> None:
        """Count a batch."""
        self.counts[kind] = self.counts.get(kind, 0) + len(some)
        self.sizes[kind] = self.sizes.get(kind, 0) + sum(one.size for one in some)


@contextmanager
def collecting(bucket: Bucket, prefixes: Iterable[str]) -> Iterator[Lease]:
    """Hold the lock of collections of the bucket.

    :param prefixes: of the DVC remotes in it.
    :raises AccessError: the credentials may not delete; nothing was changed.
    :raises ServiceError: another one is at work.
    """
    _require_rights(bucket, prefixes)
    try:
        with translated_errors(bucket.runtime, "lock of gc"), leased(bucket.s3, bucket.name, "gc", patience=0) as lease:
            yield lease
    except HeldError:
        raise ServiceError(
            f"another gc of s3://{bucket.name} is at work, or was killed less than a minute ago. Nothing was deleted "
            "by this one. Call it again when the other has ended."
        ) from None


def sweep(planner: Planner, shown: Plan, lease: Lease, on_deleted: Callable[[str], None] = lambda key: None) -> Swept:
    """Delete what a plan shows, as far as a plan of now says the same.

    :param lease: of `collecting`.
    :param on_deleted: called with each key that is deleted.
    :raises PipelineError: the store or MLflow cannot be asked any more: call it again for the rest.
    """
    bucket, allowed, swept = planner.bucket, shown.keys(), Swept()
    with translated_errors(bucket.runtime, "deleting"):
        tries = TRIES
        while tries:
            with _marked(bucket, shown.prefixes) as marks, bucket.keeping([lease, *marks]):
                left = planner.plan()
                _note(bucket, left, planner)
                is_done = not _sweep_once(bucket, left, allowed, [lease, *marks], swept, on_deleted)
            swept.waiting = left.waiting
            if is_done and not left.waiting:
                break
            if left.waiting:  # the push may go on now
                tries -= 1
                time.sleep(PAUSE)
    return swept


def _require_rights(bucket: Bucket, prefixes: Iterable[str]) -> None:
    """Delete what does not exist: a mark that could not be removed would hold up pushes."""
    folders = [f"{LINEAGE}/", *(f"{prefix}/airflow/" for prefix in prefixes)]
    try:
        with translated_errors(bucket.runtime, f"deleting in bucket {bucket.name}"):
            _delete(bucket, [f"{folder}{UNUSED}" for folder in folders])
    except AccessError as error:
        raise AccessError(
            f"{error} gc needs s3:DeleteObject there, which a DAG's user may lack. Nothing was deleted."
        ) from None


def _sweep_once(
    bucket: Bucket, plan: Plan, allowed: set[str], leases: list[Lease], swept: Swept, on_deleted: Callable[[str], None]
) -> bool:
    """:return: whether there is more to be deleted."""
    deleted = 0
    for kind in Kind:
        is_held = plan.waiting and kind in HELD
        some = [] if is_held else [one for one in plan.garbage.get(kind, ()) if one.key in allowed]
        for batch in (some[start : start + BATCH] for start in range(0, len(some), BATCH)):
            if deleted >= ROUND:
                return True
            for lease in leases:
                lease.extend()
            _delete(bucket, [one.key for one in batch])
            swept.add(kind, batch)
            deleted += len(batch)
            for one in batch:
                on_deleted(one.key)
    return False


@contextmanager
def _marked(bucket: Bucket, prefixes: tuple[str, ...]) -> Iterator[list[Lease]]:
    """Hold the mark of each remote, so that no push takes for granted what is there."""
    with ExitStack() as stack:
        yield [stack.enter_context(leased(bucket.s3, bucket.name, MARK, folder=prefix)) for prefix in prefixes]


def _note(bucket: Bucket, plan: Plan, planner: Planner) -> None:
    """Leave word of the runs that go, before they do."""
    notes = {f"{REMOTES}{quote(prefix, safe='')}": b"" for prefix in plan.prefixes}
    staying = {RunKey(one.dag_id, one.run_id) for one in plan.kept.values()}
    going = {RunKey(one.dag_id, one.run_id) for one in plan.expired.values()}
    going |= {RunKey(one.dag_id, one.run_id) for one in plan.locked}
    for run in going - staying:  # some stay with the results that they came to after they were cleared
        notes[collected_run(run.path)] = note(run.run_id, planner.rules.now)
    for expired in plan.expired.values():
        if expired.model and expired.version:
            notes[collected_version(expired.model, expired.version)] = note(expired.run_id, planner.rules.now)
    bucket.put_all(notes)


def _delete(bucket: Bucket, keys: list[str]) -> None:
    """By one request.

    :raises AccessError: the credentials may not delete.
    :raises ServiceError: the store could not.
    """
    objects: list[ObjectIdentifierTypeDef] = [{"Key": key} for key in keys]
    answer: Any = bucket.s3.delete_objects(Bucket=bucket.name, Delete={"Objects": objects, "Quiet": True})
    for error in answer.get("Errors", []):
        if error.get("Code") == "NoSuchKey":
            continue
        where = f"s3://{bucket.name}/{error.get('Key')}"
        if error.get("Code") == "AccessDenied":
            raise AccessError(f"deleting {where}: the object store refuses it (AccessDenied).")
        raise ServiceError(f"deleting {where}: the object store answered {error.get('Code')}: {error.get('Message')}")
