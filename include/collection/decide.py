"""What may go: from what is there, what its contents say and the rules. Nothing here asks or deletes anything."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from include.collection.layout import Inventory, Kind, Stored

PUSHING = timedelta(hours=1)  # a lock file that is younger may be that of a push that is at work


@dataclass(frozen=True)
class Rules:
    """What is to be kept.

    :param now: by the store's clock.
    :param keep: runs that started in this time.
    :param grace: whatever was written in this time.
    """

    now: datetime
    keep: timedelta
    grace: timedelta

    def is_fresh(self, one: Stored) -> bool:
        """Whether it was written within the grace period."""
        return one.modified > self.now - self.grace

    def is_kept_by_age(self, moment: datetime) -> bool:
        """Whether it is of a run that is kept for its age."""
        return moment > self.now - max(self.keep, self.grace)

    def may_be_pushing(self, lock: Stored) -> bool:
        """Whether the push that left a lock file may be at work."""
        return lock.modified > self.now - max(self.grace, PUSHING)


@dataclass(frozen=True)
class RunFacts:
    """What a manifest says, as far as it matters here.

    :param started: when the run started.
    :param md5s: all that it names, inputs too; ``outs`` those that a push put into the remote.
    """

    dag_id: str
    run_id: str
    started: datetime
    md5s: frozenset[str]
    outs: frozenset[str]
    pack: str | None
    mlflow_run: str
    model: str | None
    version: str | None
    prefix: str | None


@dataclass(frozen=True)
class LockFacts:
    """What a lock file of a run says. ``md5s`` and ``outs`` as of `RunFacts`."""

    dag_id: str
    run_id: str
    md5s: frozenset[str]
    outs: frozenset[str]


@dataclass(frozen=True)
class Champions:
    """The versions that are kept, by model, and the MLflow runs that trained them."""

    versions: Mapping[str, Collection[str]] = field(default_factory=dict)
    mlflow_runs: Collection[str] = ()


@dataclass
class Facts:
    """What the contents say: of manifests by folder, of lock files by key, of run-cache entries by key (which objects
    they name; None: unreadable).

    :param lists: what lists of folders name, by hash; of the folders that are kept.
    :param code: which large contents lists of code name, by the pack's id; of those that are kept.
    :param targets: the folder of the run that an index key means, by key.
    """

    manifests: dict[str, RunFacts] = field(default_factory=dict)
    locks: dict[str, LockFacts] = field(default_factory=dict)
    last: frozenset[str] = frozenset()
    entries: dict[str, frozenset[str] | None] = field(default_factory=dict)
    lists: dict[str, frozenset[str]] = field(default_factory=dict)
    code: dict[str, frozenset[str]] = field(default_factory=dict)
    targets: dict[str, str] = field(default_factory=dict)


def kept_runs(there: Inventory, facts: Facts, rules: Rules, champions: Champions) -> set[str]:
    """The folders of the manifests that are kept."""
    at_work = {(facts.locks[one.key].dag_id, facts.locks[one.key].run_id) for one in there.locks if rules.is_fresh(one)}
    kept: set[str] = set()
    newest: dict[str, str] = {}
    first: dict[tuple[str, ...], str] = {}
    for folder, run in sorted(facts.manifests.items(), key=lambda item: (item[1].started, item[0])):
        if rules.is_kept_by_age(run.started) or rules.is_fresh(there.manifests[folder]):
            kept.add(folder)
        if (run.dag_id, run.run_id) in at_work:
            kept.add(folder)
        if folder.count("/") == 1:  # not what a run had come to before it was cleared
            newest[run.dag_id] = folder
        if run.model and run.version in champions.versions.get(run.model, ()):
            first.setdefault((run.model, str(run.version)), folder)
        if run.mlflow_run in champions.mlflow_runs:
            first.setdefault((run.mlflow_run,), folder)
    return kept | {*newest.values(), *first.values()}


def kept_locks(there: Inventory, facts: Facts, rules: Rules, runs: Collection[str]) -> list[Stored]:
    """The lock files that are kept: of young runs, and of those whose manifest is kept."""
    of_kept = {(facts.manifests[folder].dag_id, facts.manifests[folder].run_id) for folder in runs}
    return [
        one
        for one in there.locks
        if rules.is_kept_by_age(one.modified) or (facts.locks[one.key].dag_id, facts.locks[one.key].run_id) in of_kept
    ]


def named(there: Inventory, facts: Facts, rules: Rules, runs: Collection[str], locks: Collection[Stored]) -> set[str]:
    """The objects that are named by what is kept; without what lists of folders name."""
    found = {md5 for folder in runs for md5 in facts.manifests[folder].md5s} | facts.last
    for one in locks:
        found |= facts.locks[one.key].md5s
    for one in there.entries:
        if rules.is_fresh(one):
            found |= facts.entries[one.key] or frozenset()
    return found | {md5 for md5, copies in there.objects.items() if any(map(rules.is_fresh, copies))}


def kept_code(there: Inventory, facts: Facts, rules: Rules, runs: Collection[str]) -> set[str]:
    """The packs that are kept: of runs that are, and those that a run began with lately."""
    packs = {facts.manifests[folder].pack for folder in runs} - {None}
    used = {pack for pack, copies in there.lists.items() if any(rules.is_kept_by_age(one.modified) for one in copies)}
    return {str(pack) for pack in packs} | used


def garbage(
    there: Inventory,
    facts: Facts,
    rules: Rules,
    *,
    runs: Collection[str],
    locks: Collection[Stored],
    objects: Collection[str],
    packs: Collection[str],
) -> dict[Kind, list[Stored]]:
    """What may be deleted.

    :param runs, locks, objects, packs: what is kept; ``objects`` with all that the lists of folders name.
    """
    staying = {one.key for one in locks}
    gone = {md5: copies for md5, copies in there.objects.items() if md5 not in objects}
    kept_large = {sha256 for large in facts.code.values() for sha256 in large}
    code = [one for pack, copies in there.archives.items() if pack not in packs for one in copies]
    code += [one for sha256, copies in there.large.items() if sha256 not in kept_large for one in copies]
    found = {
        Kind.INDEX: [
            one
            for keys in there.index.values()
            for one in keys
            if (target := facts.targets[one.key]) not in runs and (target in there.manifests or not rules.is_fresh(one))
        ],
        Kind.MANIFEST: [one for folder, one in there.manifests.items() if folder not in runs],
        Kind.DOCUMENT: [
            one
            for folder, files in there.documents.items()
            if folder not in runs and (folder in there.manifests or not any(map(rules.is_fresh, files)))
            for one in files
        ],
        Kind.LOCK: [one for one in there.locks if one.key not in staying],
        Kind.ENTRY: [one for one in there.entries if _is_dangling(one, there, facts, rules, objects)],
        Kind.CODE_LIST: [one for pack, copies in there.lists.items() if pack not in packs for one in copies],
        Kind.CODE: [one for one in code if not rules.is_fresh(one)],
        Kind.FOLDER: [one for md5, copies in gone.items() if md5.endswith(".dir") for one in copies],
        Kind.FILE: [one for md5, copies in gone.items() if not md5.endswith(".dir") for one in copies],
    }
    return {kind: some for kind, some in found.items() if some}


def _is_dangling(one: Stored, there: Inventory, facts: Facts, rules: Rules, objects: Collection[str]) -> bool:
    """Whether a run-cache entry would lead to an object that goes, or is gone; or whether nobody can read it."""
    if rules.is_fresh(one):
        return False
    names = facts.entries[one.key]
    return names is None or any(md5 not in objects or md5 not in there.objects for md5 in names)
