"""Delete what a plan names: in an order that a kill leaves consistent, beside runs that go on.

What names something else goes before that, and one kind after the other. So whatever is still listed is whole, however
the collection ends, and the next one finds the rest by the same rules. See `dvc_airflow.collecting` for what holds a
run and a collection apart.
"""

import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from include.collection.layout import Kind, Stored
from include.collection.plan import HELD, Plan, Planner
from include.collection.store import IMPATIENT, REMOTE_FOLDERS, Bucket
from include.errors import AccessError, PipelineError, ServiceError, sentence
from include.lineage.collected import MARK, REMOTES, collected_run, collected_version, note
from include.lineage.run_keys import FOLDER as LINEAGE
from include.lineage.run_keys import MANIFEST, RunKey
from include.store.client import translated_errors
from include.store.lock import HeldError, Lease, leased

if TYPE_CHECKING:
    from mypy_boto3_s3.type_defs import ObjectIdentifierTypeDef

BATCH = 250  # keys by one request: a slow store too deletes them while the mark lasts
UNUSED = "may-gc-delete"  # the name of an object that does not exist
TRIES = 5  # where pushes are at work
PAUSE = 2.0  # seconds without a mark between two rounds: a push that waits asks for it every half second
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
        with (
            translated_errors(bucket.runtime, "lock of gc"),
            leased(bucket.quick, bucket.name, "gc", patience=0) as lease,
        ):
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
    swept = Swept()
    try:
        with translated_errors(planner.bucket.runtime, "deleting"):
            _sweep(planner, shown, lease, swept, on_deleted)
    except PipelineError as error:
        count = sum(swept.counts.values())
        raise type(error)(f"{error} {count} keys were deleted before. Call gc again for the rest.") from None
    return swept


def _sweep(planner: Planner, shown: Plan, lease: Lease, swept: Swept, on_deleted: Callable[[str], None]) -> None:
    bucket, allowed, tries = planner.bucket, shown.keys(), TRIES
    while tries:
        with _marked(bucket, shown.prefixes) as marks, bucket.keeping([lease, *marks]):
            left = planner.plan()
            chosen = _chosen(left, allowed)
            is_done = sum(map(len, chosen.values())) < ROUND
            _note(bucket, left, planner, allowed, {one.key for some in chosen.values() for one in some})
            _delete_all(bucket, chosen, [lease, *marks], swept, on_deleted)
        swept.waiting = left.waiting
        if is_done and not left.waiting:
            break
        tries -= bool(left.waiting)
        time.sleep(PAUSE)  # pushes may go on now


def _require_rights(bucket: Bucket, prefixes: Iterable[str]) -> None:
    """Delete what does not exist: a mark that could not be removed would hold up pushes."""
    folders = [f"{LINEAGE}/"]
    folders += [f"{prefix}/{folder}/" for prefix in prefixes for folder in ("airflow", *REMOTE_FOLDERS)]
    try:
        with translated_errors(bucket.runtime, f"deleting in bucket {bucket.name}"):
            _delete(bucket, [f"{folder}{UNUSED}" for folder in folders])
    except AccessError as error:
        raise AccessError(
            f"{error} gc needs s3:DeleteObject there, which a DAG's user may lack. Nothing was deleted."
        ) from None


def _chosen(plan: Plan, allowed: Collection[str]) -> dict[Kind, list[Stored]]:
    """What is deleted in this round, in order."""
    chosen: dict[Kind, list[Stored]] = {}
    room = ROUND
    for kind in Kind:
        is_held = plan.waiting and kind in HELD
        some = [] if is_held else [one for one in plan.garbage.get(kind, ()) if one.key in allowed]
        chosen[kind] = some[:room]
        room -= len(chosen[kind])
    return chosen


def _delete_all(
    bucket: Bucket,
    chosen: Mapping[Kind, list[Stored]],
    leases: list[Lease],
    swept: Swept,
    on_deleted: Callable[[str], None],
) -> None:
    for kind, some in chosen.items():
        for batch in (some[start : start + BATCH] for start in range(0, len(some), BATCH)):
            _extend(leases)
            try:
                _delete(bucket, [one.key for one in batch])
            except BaseException:  # the store may carry the request out later: nobody is to go on until a lease after
                for lease in leases:
                    lease.is_released_at_end = False
                raise
            swept.add(kind, batch)
            for one in batch:
                on_deleted(one.key)


def _extend(leases: list[Lease]) -> None:
    """Hold all leases for as long as a request may take."""
    while True:
        began = time.monotonic()
        for lease in leases:
            lease.extend()
        if time.monotonic() - began < IMPATIENT:
            return


@contextmanager
def _marked(bucket: Bucket, prefixes: tuple[str, ...]) -> Iterator[list[Lease]]:
    """Hold the mark of each remote, so that no push takes for granted what is there."""
    with ExitStack() as stack:
        yield [stack.enter_context(leased(bucket.quick, bucket.name, MARK, folder=prefix)) for prefix in prefixes]


def _note(bucket: Bucket, plan: Plan, planner: Planner, allowed: Collection[str], chosen: Collection[str]) -> None:
    """Leave word of the runs that go, before they do.

    :param allowed, chosen: the keys of what may go, and of what does in this round.
    """
    by_key = {f"{LINEAGE}/runs/{folder}/{MANIFEST}": run for folder, run in plan.expired.items()}
    going = [run for key, run in by_key.items() if key in chosen]
    # A run that was cleared may stay: with its later results, while the earlier ones go.
    staying = [*plan.kept.values(), *(run for key, run in by_key.items() if key not in allowed)]
    locked = [run for key, run in plan.locked.items() if key in chosen]
    runs = {RunKey(one.dag_id, one.run_id) for one in going} | {RunKey(one.dag_id, one.run_id) for one in locked}
    versions = {(one.model, one.version): one.run_id for one in going if one.model and one.version}
    notes = {f"{REMOTES}{quote(prefix, safe='')}": b"" for prefix in plan.prefixes}
    for run in runs - {RunKey(one.dag_id, one.run_id) for one in staying}:
        notes[collected_run(run.path)] = note(run.run_id, planner.rules.now)
    for name, version in versions.keys() - {(one.model, one.version) for one in staying}:
        notes[collected_version(str(name), str(version))] = note(versions[name, version], planner.rules.now)
    bucket.put_all(notes)


def _delete(bucket: Bucket, keys: list[str]) -> None:
    """By one request.

    :raises AccessError: the credentials may not delete.
    :raises ServiceError: the store could not.
    """
    objects: list[ObjectIdentifierTypeDef] = [{"Key": key} for key in keys]
    answer: Any = bucket.quick.delete_objects(Bucket=bucket.name, Delete={"Objects": objects, "Quiet": True})
    for error in answer.get("Errors", []):
        if error.get("Code") == "NoSuchKey":
            continue
        where = f"s3://{bucket.name}/{error.get('Key')}"
        if error.get("Code") == "AccessDenied":
            raise AccessError(f"deleting {where}: the object store refuses it (AccessDenied).")
        said = sentence(str(error.get("Message")))
        raise ServiceError(f"deleting {where}: the object store answered {error.get('Code')}: {said}")
