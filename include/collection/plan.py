"""What a collection would delete now: reads the store, git and MLflow, and writes nothing."""

import hashlib
import json
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import unquote

from include.collection import decide
from include.collection.decide import Champions, Facts, LockFacts, Rules, RunFacts
from include.collection.git_refs import MD5_IN_YAML
from include.collection.layout import Inventory, Kind, Stored
from include.collection.store import Bucket, md5s_in, md5s_of_outs, unreadable
from include.errors import DataError
from include.lineage.collected import REMOTES
from include.lineage.manifest import Manifest, parse

HELD = (Kind.ENTRY, Kind.FOLDER, Kind.FILE)


@dataclass(frozen=True)
class Plan:
    """What may go, by kind; and what it is of.

    :param prefixes: of the DVC remotes in the bucket.
    :param expired: the runs whose manifests go, by folder; ``kept`` those whose manifests stay.
    :param locked: the runs whose lock files go, by key.
    :param mlflow_runs: those that no manifest names any more, once these are gone.
    :param waiting: the lock files of pushes that may be at work on folders that the store lacks: until they have ended,
        nothing of `HELD` is deleted, for it may be in those folders.
    """

    garbage: Mapping[Kind, list[Stored]]
    prefixes: tuple[str, ...]
    expired: Mapping[str, RunFacts]
    kept: Mapping[str, RunFacts]
    locked: Mapping[str, LockFacts]
    mlflow_runs: Collection[str]
    waiting: Collection[str]

    def keys(self) -> set[str]:
        """Of all that may go."""
        return {one.key for some in self.garbage.values() for one in some}


class Planner:
    """Makes plans of a bucket; a later one reads only what is new.

    :param prefix: of the DVC remote by the configuration; that of runs with another one is found by their manifests.
    :param named_in_git: the MD5s that the commits of the checkout name.
    :param champions: asks which versions are kept, of these models; None: no version is.
    """

    def __init__(
        self,
        bucket: Bucket,
        prefix: str,
        rules: Rules,
        named_in_git: Collection[str] = (),
        champions: Callable[[Iterable[str]], Champions] | None = None,
    ) -> None:
        self.bucket, self.rules = bucket, rules
        self._prefix, self._in_git, self._champions = prefix, named_in_git, champions
        self._parsed: dict[tuple[str, str], Any] = {}

    def plan(self) -> Plan:
        """What may go now.

        :raises DataError: something cannot be read, so that it is not known what is needed.
        :raises PipelineError: the store, or MLflow, cannot be asked.
        """
        there, facts, prefixes = self._found()
        champions = (
            self._champions(run.model for run in facts.manifests.values() if run.model)
            if self._champions
            else Champions()
        )
        runs = decide.kept_runs(there, facts, self.rules, champions)
        locks = decide.kept_locks(there, facts, self.rules, runs)
        packs = decide.kept_code(there, facts, self.rules, runs)
        self._read_code(there, facts, packs)
        objects, waiting = self._needed(there, facts, runs, locks)
        garbage = decide.garbage(there, facts, self.rules, runs=runs, locks=locks, objects=objects, packs=packs)
        expired = {folder: run for folder, run in facts.manifests.items() if folder not in runs}
        kept = {folder: run for folder, run in facts.manifests.items() if folder in runs}
        return Plan(
            garbage,
            prefixes,
            expired,
            kept,
            {one.key: facts.locks[one.key] for one in garbage.get(Kind.LOCK, ())},
            sorted({one.mlflow_run for one in expired.values()} - {one.mlflow_run for one in kept.values()}),
            waiting,
        )

    def _found(self) -> tuple[Inventory, Facts, tuple[str, ...]]:
        """What is there, and what manifests, lock files, entries and index keys say."""
        noted = {unquote(one.key.removeprefix(REMOTES)) for one in self.bucket.list(REMOTES)}
        prefixes = {self._prefix, *noted}
        there = self.bucket.inventory(sorted(prefixes))
        manifests = self._manifests(there)
        if others := {run.prefix for run in manifests.values() if run.prefix} - prefixes:
            prefixes |= others
            there = self.bucket.inventory(sorted(prefixes))
            manifests = self._manifests(there)
        facts = Facts(manifests)
        facts.locks = self._read(there.locks, _lock_facts)
        facts.last = frozenset().union(*self._read(there.last, _last_md5s).values())
        facts.entries = self._read(there.entries, _entry_outs)
        self._read_index(there, facts)
        return there, facts, tuple(sorted(prefixes))

    def _manifests(self, there: Inventory) -> dict[str, RunFacts]:
        def facts(bucket: str, key: str, text: bytes) -> RunFacts:
            try:
                return _run_facts(parse(text, f"s3://{bucket}/{key}"), bucket)
            except DataError as error:
                raise unreadable(bucket, key, str(error).removeprefix(f"s3://{bucket}/{key} ")) from None
            except (ValueError, KeyError, TypeError) as error:
                raise unreadable(
                    bucket, key, f"it is not as a run writes it ({type(error).__name__}: {error})"
                ) from None

        found = self._read(there.manifests.values(), facts)
        return {folder: found[one.key] for folder, one in there.manifests.items()}

    def _read(self, some: Iterable[Stored], read: Callable[[str, str, bytes], Any]) -> dict[str, Any]:
        """What the contents say, by key."""
        by_key = {one.key: one for one in some}
        unread = [one for one in by_key.values() if (one.key, one.etag) not in self._parsed]
        for key, text in self.bucket.contents(unread).items():
            self._parsed[key, by_key[key].etag] = read(self.bucket.name, key, text)
        return {key: self._parsed[key, one.etag] for key, one in by_key.items()}

    def _read_index(self, there: Inventory, facts: Facts) -> None:
        """Which run each index key means: the one in it, or, by its content, earlier results of that."""
        with_content = [one for keys in there.index.values() for one in keys if one.size]
        revisions = self.bucket.contents(with_content)
        for run, keys in there.index.items():
            for one in keys:
                revision = revisions.get(one.key, b"").decode(errors="replace").strip("/")
                facts.targets[one.key] = f"{run}/{revision}" if revision else run

    def _read_code(self, there: Inventory, facts: Facts, packs: Collection[str]) -> None:
        """Which large contents the packs name that are kept."""
        lists = {copy.key: pack for pack in packs for copy in there.lists.get(pack, ())}
        some = [copy for pack in packs for copy in there.lists.get(pack, ())]
        for key, large in self._read(some, lambda bucket, key, text: _large(bucket, key, text, lists[key])).items():
            facts.code[lists[key]] = large

    def _needed(
        self, there: Inventory, facts: Facts, runs: Collection[str], locks: Collection[Stored]
    ) -> tuple[set[str], list[str]]:
        """All objects that are needed, folders expanded; and the locks of pushes that have yet to put their folders."""
        wanted = decide.named(there, facts, self.rules, runs, locks) | set(self._in_git)
        by_manifest = {md5 for folder in runs for md5 in facts.manifests[folder].outs}
        found = set(wanted)
        lacking: set[str] = set()
        folders = sorted(one for one in wanted if one.endswith(".dir"))
        self.bucket.contents(copy for md5 in folders for copy in there.objects.get(md5, []))  # many at once
        for md5 in folders:
            copies = there.objects.get(md5, [])
            found |= frozenset().union(*(self.bucket.members(one, md5) for one in copies))
            if not copies:
                lacking.add(md5)
        waiting = [one for one in locks if self.rules.may_be_pushing(one) and facts.locks[one.key].outs & lacking]
        if lost := sorted(by_manifest & lacking):
            self._refuse(facts, runs, lost[0])
        return found, [one.key for one in waiting]

    def _refuse(self, facts: Facts, runs: Collection[str], md5: str) -> None:
        run = next(facts.manifests[folder] for folder in sorted(runs) if md5 in facts.manifests[folder].outs)
        raise DataError(
            f"run {run.run_id} of DAG {run.dag_id} needs the folder {md5}, whose list is not in "
            f"s3://{self.bucket.name}: its files are not known. Run `dvc push` where a cache has it; or, if that run "
            "need not be kept, remove its manifest.json. `verify` says more of the run."
        )


def _run_facts(manifest: Manifest, bucket: str) -> RunFacts:
    storage, model = manifest.config["storage"], manifest.model
    started = datetime.fromisoformat(manifest.airflow.started_at)
    if started.tzinfo is None:
        raise ValueError(f"started_at {manifest.airflow.started_at} has no time zone")
    return RunFacts(
        manifest.airflow.dag_id,
        manifest.airflow.run_id,
        started,
        md5s_in(manifest.lock),
        frozenset(one.md5 for one in manifest.outputs if one.md5),
        manifest.code.pack,
        manifest.mlflow_run["run_id"],
        model.name if model else None,
        model.version if model else None,
        storage["prefix"] if storage["bucket"] == bucket else None,
    )


def _lock_facts(bucket: str, key: str, text: bytes) -> LockFacts:
    try:
        document = json.loads(text)
        lock = document["lock"]
        return LockFacts(str(document["dag_id"]), str(document["run_id"]), md5s_in(lock), md5s_of_outs(lock))
    except (ValueError, KeyError, TypeError, AttributeError):
        raise unreadable(bucket, key, "it is not the lock file of a run") from None


def _last_md5s(bucket: str, key: str, text: bytes) -> frozenset[str]:
    try:
        return md5s_in(json.loads(text))
    except ValueError:
        raise unreadable(bucket, key, "it is not JSON") from None


def _entry_outs(bucket: str, key: str, text: bytes) -> frozenset[str] | None:
    """The objects that a run-cache entry leads to; None: no look-up can read it either, so it leads nowhere.

    Without outputs outside the project: no push puts them into the remote.
    """
    outs = _OUTS.search(text)
    if outs is None:
        return None
    inside = [one for one in _ITEM.split(outs[1]) if not _OUTSIDE.search(one)]
    return frozenset(md5.decode() for one in inside for md5 in MD5_IN_YAML.findall(one))


def _large(bucket: str, key: str, text: bytes, pack: str) -> frozenset[str]:
    if hashlib.sha256(text).hexdigest() != pack:
        raise unreadable(bucket, key, "its content is not that of this list of code")
    try:
        return frozenset(str(file["sha256"]) for file in json.loads(text)["files"].values() if "sha256" in file)
    except (ValueError, KeyError, TypeError, AttributeError):
        raise unreadable(bucket, key, "it is not a list of code") from None


_OUTS = re.compile(rb"^outs:\n((?:[ -].*\n?)*)", re.MULTILINE)
_ITEM = re.compile(rb"^- ", re.MULTILINE)
_OUTSIDE = re.compile(rb"\bpath['\"]?\s*:\s*['\"]?(?:/|\.\./|[a-z0-9]+://)")
