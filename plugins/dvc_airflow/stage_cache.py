"""The one module that touches DVC's internals: a stage's key, and what the run-cache knows of it.

DVC calls `Repo` and below internal; tests/integration/test_dvc_contract.py holds on to what is used here (DVC 3.67).
"""

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import chdir, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dvc_airflow.workspace import Workspace

if TYPE_CHECKING:
    from dvc.repo import Repo
    from dvc.stage import PipelineStage
    from dvc_data.hashfile.hash_info import HashInfo

LockEntry = dict[str, Any]


@contextmanager
def open_repo(workspace: Workspace, credentials: Mapping[str, Any] | None = None) -> Iterator["Repo"]:
    """Open the workspace with DVC.

    :param credentials: options of the remote that stay in memory, never in a file (DVC's names: access_key_id, ...).
    """
    from dvc.repo import Repo

    remote = {"remote": {"store": dict(credentials)}} if credentials and workspace.remote_url else {}
    with chdir(workspace.path), Repo(str(workspace.path), config=remote) as repo:  # DVC resolves paths by the cwd
        yield repo


class StageCache:
    """What is known of one stage, given the lock entries of the stages before it. Needs none of their data.

    :param repo: the opened workspace; its dvc.lock holds the upstream entries.
    :param name: the stage as ``dvc repro`` takes it.
    """

    def __init__(self, repo: "Repo", name: str) -> None:
        file, _, short_name = name.rpartition(":")
        self.stage: PipelineStage = repo.stage.load_one(str(Path(repo.root_dir) / (file or "dvc.yaml")), short_name)
        self.repo = repo
        self._fill_dependencies(self.stage)

    def inputs(self) -> LockEntry:
        """The stage's lock entry without outputs: command, hashes of the dependencies, values of the params."""
        from dvc.stage.serialize import to_single_stage_lockfile

        entry = dict(to_single_stage_lockfile(self.stage))
        entry.pop("outs", None)
        return entry

    def find(self) -> LockEntry | None:
        """The complete lock entry of an earlier run with the same inputs, if all its outputs can still be had.

        Looks in the cache, then by one look-up of the key in the remote. Moves no data but missing outputs.
        """
        from dvc.exceptions import DvcException

        if not self._is_restorable():
            return None
        cached = self._local_entry() or self._fetch_entry()
        if not cached:
            return None
        known = self.repo.stage_cache._create_stage(cached, wdir=self.stage.wdir)
        if not known.outs_cached():
            if not self._has_remote:
                return None
            try:
                for objects in known.get_used_objs().values():
                    self.repo.cloud.pull(objects)
            except (DvcException, FileNotFoundError):  # an object is gone: the stage has to run
                return None
            if not known.outs_cached():
                return None
        return dict(cached)

    def fetch_inputs(self) -> None:
        """Bring the outputs of earlier stages that this one reads into the workspace, from the cache or the remote."""
        # Also what lies there already: it may be a left-over of the project's folder that no ignore file names.
        targets = [dep.fs_path for dep in self.stage.deps if not _is_param(dep) and self._output_at(dep.fs_path)]
        if not targets:
            return
        if self._has_remote:
            self.repo.fetch(targets=targets)
        self.repo.checkout(targets=targets, force=True)

    @property
    def _has_remote(self) -> bool:
        return bool(self.repo.config["core"].get("remote"))

    def differs(self, entry: LockEntry) -> list[str]:
        """Inputs that the stage, by its new lock entry, read in another version than the upstream stages made."""
        used = {dep["path"]: dep.get("md5") for dep in entry.get("deps", [])}
        return [
            dep.def_path
            for dep in self.stage.deps
            if not _is_param(dep) and self._output_at(dep.fs_path) and used.get(dep.def_path) != dep.hash_info.value
        ]

    def _fill_dependencies(self, stage: "PipelineStage") -> None:
        """Give each dependency its hash: from the upstream entry where a stage makes it, else from the file."""
        for dep in stage.deps:
            made_by = None if _is_param(dep) else self._output_at(dep.fs_path)
            if made_by is not None and made_by.hash_info:
                dep.hash_name, dep.hash_info, dep.meta = made_by.hash_name, made_by.hash_info, made_by.meta
            elif _is_param(dep) or dep.exists:
                dep.save()

    def _output_at(self, path: str) -> Any:
        from dvc.exceptions import OutputNotFoundError

        try:
            (out,) = self.repo.find_outs_by_path(path, strict=True)
        except OutputNotFoundError:
            return None
        return out

    def _is_restorable(self) -> bool:
        """DVC's own rule (`dvc.stage.cache._can_hash`), but by the hashes at hand instead of the files."""
        stage = self.stage
        if stage.is_callback or stage.always_changed or not (stage.cmd and stage.deps and stage.outs):
            return False
        return all(dep.protocol == "local" and dep.def_path and dep.hash_info for dep in stage.deps) and all(
            out.protocol == "local" and out.def_path and out.is_in_repo and not out.persist for out in stage.outs
        )

    @property
    def _key(self) -> str:
        from dvc.stage.cache import _get_cache_hash
        from dvc.stage.serialize import to_single_stage_lockfile

        return _get_cache_hash(to_single_stage_lockfile(self.stage), key=True)

    def _local_entry(self) -> LockEntry | None:
        folder = Path(self.repo.stage_cache._get_cache_dir(self._key))
        # Several results of the same inputs are possible where a stage is not deterministic: the newest counts.
        values = sorted(folder.iterdir(), key=lambda file: file.stat().st_mtime) if folder.is_dir() else []
        return self.repo.stage_cache._load_cache(self._key, values[-1].name) if values else None

    def _fetch_entry(self) -> LockEntry | None:
        """Copy the key's entries from the remote's run-cache to the local one. One listing of one folder."""
        if not self._has_remote:
            return None
        remote, key = self.repo.cloud.get_remote_odb(None, "fetch", hash_name="md5-dos2unix"), self._key
        for path in remote.fs.find(remote.fs.join(remote.path, "runs", key[:2], key)):
            local = Path(self.repo.stage_cache._get_cache_path(key, remote.fs.name(path)))
            local.parent.mkdir(parents=True, exist_ok=True)
            # Not beside the entries: DVC takes every file there for one, and removes what it cannot read.
            part = local.parent.with_name(f".{key}.{os.getpid()}.part")
            remote.fs.get_file(path, str(part))
            os.replace(part, local)
        return self._local_entry()


def push_run_cache(repo: "Repo", entries: Iterable[LockEntry]) -> int:
    """Copy the run-cache entries that these lock entries stand for to the remote: one small object each.

    `dvc push --run-cache` would copy all that the cache has ever seen.

    :return: how many there are.
    """
    from dvc.stage.cache import _get_cache_hash

    remote = repo.cloud.get_remote_odb(None, "push", hash_name="md5-dos2unix")
    pushed = 0
    for entry in entries:
        key, value = _get_cache_hash({**entry}, key=True), _get_cache_hash({**entry})
        local = repo.stage_cache._get_cache_path(key, value)
        if repo.cache.legacy.fs.exists(local):
            remote.fs.put_file(local, remote.fs.join(remote.path, "runs", key[:2], key, value))
            pushed += 1
    return pushed


def missing_in_remote(repo: "Repo") -> tuple[dict[str, str], int, int]:
    """Ask the remote for every object that the workspace's lock names, folders expanded, one by one.

    A remote that has a folder's list is taken by `dvc push` to have its files too (dvc#11011); this is the proof.

    :return: what is missing (hash -> what it is), the number of objects, and their bytes.
    """
    missing: dict[str, str] = {}
    sizes: dict[str, int] = {}
    for odb, objects in _used_objects(repo).items():
        remote = odb or repo.cloud.get_remote_odb()
        for name, oid in objects:
            if oid in sizes:
                continue
            path = remote.oid_to_path(oid)
            here = repo.cache.local.oid_to_path(oid)
            expected = repo.cache.local.fs.size(here) if repo.cache.local.fs.exists(here) else None
            try:
                sizes[oid] = remote.fs.size(path)
            except FileNotFoundError:
                missing[oid] = name
                continue
            if expected is not None and sizes[oid] != expected:
                missing[oid] = name
    return missing, len(sizes), sum(sizes.values())


def push_again(repo: "Repo", oids: list[str]) -> None:
    """Push single objects whose presence `dvc push` took for granted."""
    remote, cache = repo.cloud.get_remote_odb(), repo.cache.local
    for oid in oids:
        if cache.fs.exists(cache.oid_to_path(oid)):
            remote.fs.put_file(cache.oid_to_path(oid), remote.oid_to_path(oid))


def _used_objects(repo: "Repo") -> dict[Any, list[tuple[str, str]]]:
    used: dict[Any, list[tuple[str, str]]] = {}
    for odb, infos in repo.used_objs().items():
        names = used.setdefault(odb, [])
        for info in infos:
            names.append((str(info.obj_name or info.value), info.value))
            if info.isdir:
                names += _files_of(repo, info)
    return used


def _files_of(repo: "Repo", info: "HashInfo") -> list[tuple[str, str]]:
    from dvc_data.hashfile.tree import Tree

    tree = Tree.load(repo.cache.local, info)
    return [("/".join([str(info.obj_name).rstrip("/"), *key]), file.value) for key, (_, file) in tree.iteritems()]


def _is_param(dep: Any) -> bool:
    from dvc.dependency import ParamsDependency

    return isinstance(dep, ParamsDependency)
