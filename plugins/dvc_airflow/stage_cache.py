"""A stage's key, and what the run-cache knows of it.

With `objects`, `outputs`, `repo` and `describe`, all that touches DVC's internals. DVC calls `Repo` and below internal;
tests/unit/test_dvc_contract.py holds on to what is used here (DVC 3.67).
"""

import logging
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dvc_airflow.atomic import replacing
from dvc_airflow.objects import LostError, Objects, Stamp
from dvc_airflow.outputs import whose
from dvc_airflow.remote import explained, remote_odb, run_folder

if TYPE_CHECKING:
    from dvc.output import Output
    from dvc.stage import PipelineStage

log = logging.getLogger(__name__)

LockEntry = dict[str, Any]


class StageCache:
    """What is known of one stage, given the lock entries of the stages before it. Needs none of their data.

    :param objects: of the opened workspace, whose dvc.lock holds the upstream entries.
    :param name: the stage as ``dvc repro`` takes it.
    :raises LostError: the list of a folder that tells a dependency's hash is nowhere.
    """

    def __init__(self, objects: Objects, name: str) -> None:
        from dvc.dvcfile import load_file

        self.objects, self.repo = objects, objects.repo
        file, _, self._short_name = name.rpartition(":")
        # All stages of the file: what reads and resolves it once, for `_load` is asked for several.
        self._stages = load_file(self.repo, str(Path(self.repo.root_dir) / (file or "dvc.yaml"))).stages
        self.stage = self._load()
        self._fill_dependencies()
        self._seen: set[str] = set()
        #: names of what an earlier result consisted of, and what is nowhere to be had any more
        self.lost: list[str] = []

    def inputs(self) -> LockEntry:
        """The stage's lock entry without outputs: command, hashes of the dependencies, values of the params."""
        from dvc.stage.serialize import to_single_stage_lockfile

        entry = dict(to_single_stage_lockfile(self.stage))
        entry.pop("outs", None)
        return entry

    def always_runs(self) -> str | None:
        """Why DVC runs this stage whatever is known of it; None if it does not."""
        if self.stage.always_changed:
            return "always_changed in dvc.yaml"
        if not self.stage.deps:
            return "it has no dependencies, so DVC cannot tell whether it would do something else"
        if any(out.persist for out in self.stage.outs):
            return "it has outputs with persist in dvc.yaml"
        return None

    def find(self, stamps_of: Callable[[LockEntry], dict[str, Stamp]] = lambda entry: {}) -> LockEntry | None:
        """The complete lock entry of an earlier run with the same inputs, if all its outputs can still be had.

        Looks in the cache, then by one listing of the key's folder in the remote. Moves no data.

        :param stamps_of: what is known of the cache files of an entry, see `Objects`.
        :raises RemoteError: the remote cannot be asked.
        """
        if not self.is_restorable():
            return None
        for entry in self._entries():
            self.objects.stamps.update(stamps_of(entry))
            lost = [one for out in self.outputs(entry) for one in self.objects.lost(out)]
            if not lost:
                return entry
            self.lost = sorted(one.name for one in lost)
            log.warning("An earlier result cannot be used: %s", LostError(lost))
        return None

    def is_overtaken(self) -> bool:
        """Whether the cache has other results of these inputs than when `find` looked."""
        return {file.name for file in self._in_cache()} != self._seen

    def outputs(self, entry: LockEntry) -> list["Output"]:
        """The stage's outputs as this lock entry has them."""
        from dvc.stage.loader import StageLoader

        stage = self._load()
        StageLoader.fill_from_lock(stage, entry)
        return [out for out in stage.outs if out.hash_info]

    def bring_inputs(self) -> None:
        """Put the outputs of earlier stages that this one reads, and no others, into the workspace.

        Their content is hashed first.

        :raises LostError: neither the cache nor the remote has them whole.
        :raises RemoteError: the remote cannot be asked.
        """
        for dep in self.stage.deps:
            for out, part in self._absent_sources(dep):
                self._place(out, part)

    def put_into_cache(self, entry: LockEntry) -> list[str]:
        """Have the cache hold all outputs that the stage has just made: DVC leaves some with ``cache: false`` out.

        :return: what it does not hold all the same: DVC does not write over an object that is there, but corrupted.
        """
        for out in self.stage.outs:
            if not out.use_cache and out.protocol == "local" and out.is_in_repo and out.exists:
                out.use_cache = True
                out.save()
                out.commit()
        return [
            one.name
            for out in self.outputs(entry)
            if out.protocol == "local"
            for one in self.objects.of(out)
            if not self.objects.in_cache(one)
        ]

    def differs(self, entry: LockEntry) -> list[str]:
        """Inputs that the stage, by its new lock entry, read in another version than the upstream stages made."""
        used = {dep["path"]: dep.get("md5") for dep in entry.get("deps", [])}
        return [
            dep.def_path
            for dep in self.stage.deps
            if not _is_param(dep) and self._sources(dep) and used.get(dep.def_path) != dep.hash_info.value
        ]

    def files(self) -> list[str] | None:
        """The project's files and folders that are dependencies of this stage, params files included.

        :return: paths relative to the project; None if it has dependencies outside.
        """
        root = Path(self.repo.root_dir)
        paths = [Path(dep.fs_path) for dep in self.stage.deps if not self._is_made(dep)]
        if not all(dep.protocol == "local" for dep in self.stage.deps) or not all(
            path.is_relative_to(root) for path in paths
        ):
            return None
        return sorted({path.relative_to(root).as_posix() for path in paths})

    def _load(self) -> "PipelineStage":
        return self._stages[self._short_name]

    def _fill_dependencies(self) -> None:
        """Give each dependency its hash: from the upstream entry where a stage makes it, else from the file."""
        for dep in self.stage.deps:
            sources = self._sources(dep)
            if not _is_param(dep) and len(sources) == 1 and self._take_hash(dep, *sources[0]):
                continue
            # It is made up of several outputs, has its hash by another rule, or is a file of params.
            for out, part in self._absent_sources(dep):
                if out.hash_info:
                    self._place(out, part)
            if _is_param(dep) or dep.exists:
                dep.save()

    def _take_hash(self, dep: Any, out: "Output", part: str | None) -> bool:
        """Give the dependency the hash that an output, or a part of one, has by its lock entry."""
        if out.hash_name != dep.hash_name or not out.hash_info or self._is_around(dep, out):
            return False
        if part is None:
            dep.hash_info, dep.meta = out.hash_info, out.meta
            return True
        prefix = out.fs.relparts(part, out.fs_path)
        with whose(out):
            tree = self.objects.tree(out)
        found = tree.get_obj(out.cache, prefix)
        if found is None or found.hash_info is None:
            return False
        meta, _ = tree.get(tuple(prefix)) or (None, None)
        dep.hash_info = found.hash_info
        dep.meta = meta or _folder_meta(found)
        return True

    def _is_made(self, dep: Any) -> bool:
        """Whether one output is, or holds, all of the dependency."""
        sources = self._sources(dep)
        return len(sources) == 1 and not self._is_around(dep, sources[0][0])

    def _is_around(self, dep: Any, out: "Output") -> bool:
        return dep.fs_path != out.fs_path and bool(self.repo.fs.isin(out.fs_path, dep.fs_path))

    def _sources(self, dep: Any) -> list[tuple["Output", str | None]]:
        """The outputs that make up a dependency, each with the part of it that is meant (None: all)."""
        from dvc.exceptions import OutputNotFoundError
        from dvc.stage import PipelineStage

        if dep.protocol != "local":
            return []
        try:
            outs = self.repo.find_outs_by_path(dep.fs_path, recursive=True, strict=False)
        except OutputNotFoundError:
            return []
        if _is_param(dep):  # what a .dvc file tracks is not made anew: the project's own file counts, as for DVC
            outs = [out for out in outs if isinstance(out.stage, PipelineStage)]
        inside = [(out, dep.fs_path) for out in outs if self.repo.fs.isin(dep.fs_path, out.fs_path)]
        return inside or [(out, None) for out in outs]

    def _absent_sources(self, dep: Any) -> list[tuple["Output", str | None]]:
        """Those that are to be brought: a file of params that is there has the values of this run."""
        return [] if _is_param(dep) and dep.exists else self._sources(dep)

    def _place(self, out: "Output", part: str | None) -> None:
        with whose(out):
            self.objects.bring(self.objects.of(out, part))
        out.use_cache = True  # what is not cached by dvc.yaml is in the run-cache's way all the same; DVC does as we do
        out.checkout(force=True, filter_info=part, allow_missing=False)

    def is_restorable(self) -> bool:
        """DVC's own rule (`dvc.stage.cache._can_hash`), but by the hashes at hand instead of the files."""
        stage = self.stage
        if self.always_runs() or not (stage.cmd and stage.outs):
            return False
        return all(dep.protocol == "local" and dep.def_path and dep.hash_info for dep in stage.deps) and all(
            out.protocol == "local" and out.def_path and out.is_in_repo for out in stage.outs
        )

    @property
    def key(self) -> str:
        """The run-cache's key of the stage with these inputs."""
        from dvc.stage.serialize import to_single_stage_lockfile

        return run_cache_key(to_single_stage_lockfile(self.stage))

    def _entries(self) -> Iterator[LockEntry]:
        """Results of the same inputs, newest first; several where a stage is not deterministic."""
        whole = set()
        files = self._in_cache()
        self._seen = {file.name for file in files}
        for file in files:
            if entry := self._checked(file.name, file.read_bytes(), "cache"):
                whole.add(file.name)
                yield entry
        if self.objects.has_remote:
            for value, text in self._remote_entries(whole):
                if entry := self._checked(value, text, "remote"):
                    self._keep(value, text)
                    self._seen.add(value)
                    yield entry

    def _in_cache(self) -> list[Path]:
        return _newest_first(Path(self.repo.stage_cache._get_cache_dir(self.key)))

    def _remote_entries(self, seen: set[str]) -> Iterator[tuple[str, bytes]]:
        with explained(self.repo):
            remote = remote_odb(self.repo, algorithm="md5-dos2unix")
            found = list(remote.fs.find(run_folder(remote, self.key)))
            if len(found) > 1:
                found.sort(key=lambda path: _written_at(remote.fs.info(path)), reverse=True)
            for path in found:
                if (name := remote.fs.name(path)) not in seen:
                    yield name, remote.fs.cat_file(path)

    def _checked(self, value: str, text: bytes, where: str) -> LockEntry | None:
        """The entry, unless it was cut short or changed: its name is its hash."""
        from dvc.stage.cache import _get_cache_hash
        from ruamel.yaml import YAML
        from ruamel.yaml.error import YAMLError

        try:
            entry = dict(YAML(typ="safe", pure=True).load(text))
            right = _get_cache_hash({**entry}) == value and _get_cache_hash({**entry}, key=True) == self.key
        except (YAMLError, TypeError, ValueError, KeyError, AttributeError):
            right = False
        if not right:
            log.warning("Run-cache entry %s/%s in the %s was cut short or changed; not used", self.key, value, where)
            return None
        return entry

    def _keep(self, value: str, text: bytes) -> None:
        """Take an entry over from the remote into the cache."""
        local = Path(self.repo.stage_cache._get_cache_path(self.key, value))
        # Not beside the entries: DVC takes every file there for one, and removes what it cannot read.
        with replacing(local, parts=local.parent.parent) as part:
            part.write_bytes(text)


def run_cache_key(entry: Mapping[str, Any]) -> str:
    """The run-cache's key of a stage with the inputs of this lock entry."""
    from dvc.stage.cache import _get_cache_hash

    return str(_get_cache_hash({**entry}, key=True))


def _written_at(info: Any) -> float:
    at = info.get("LastModified") or info.get("mtime") or 0
    return at.timestamp() if isinstance(at, datetime) else float(at)


def _newest_first(folder: Path) -> list[Path]:
    """The entries of a key's folder. DVC writes new ones there too, under other names, and renames them."""
    found = []
    for file in folder.iterdir() if folder.is_dir() else []:
        if re.fullmatch("[0-9a-f]{64}", file.name):
            with suppress(FileNotFoundError):
                found.append((file.stat().st_mtime, file))
    return [file for _, file in sorted(found, reverse=True)]


def _folder_meta(tree: Any) -> Any:
    from dvc_data.hashfile.meta import Meta

    return Meta(isdir=True, nfiles=len(tree)) if hasattr(tree, "digest") else Meta()


def _is_param(dep: Any) -> bool:
    from dvc.dependency import ParamsDependency

    return isinstance(dep, ParamsDependency)
