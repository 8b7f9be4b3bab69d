"""A stage with the hashes of its dependencies, by the lock entries of the stages before it: none of their data is read.

The run-cache's key follows from these hashes, the params and the command.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from dvc_airflow.dvc.defined import DefinedStage
from dvc_airflow.dvc.object import MissingObjectsError, Object
from dvc_airflow.dvc.objects import Objects
from dvc_airflow.dvc.outputs import attributed_to, is_of_stage
from dvc_airflow.dvc.producers import Producers, is_inside, is_param
from dvc_airflow.dvc.unmet import Absent, absent_dependencies, read_params
from dvc_airflow.lockfile import LockEntry

if TYPE_CHECKING:
    from dvc.output import Output


class ResolvedStage(DefinedStage):
    """A stage of an opened workspace, whose dvc.lock holds the entries of the stages before.

    :param objects: of the opened workspace.
    :param name: the stage as ``dvc repro`` takes it.
    :raises MissingObjectsError: the list of a folder, needed for a dependency's hash, is missing.
    :raises TaskError: its params are not there.
    """

    def __init__(self, objects: Objects, name: str) -> None:
        super().__init__(objects, name)
        self._producers = Producers(self._repo)
        self._fill_dependencies()

    @property
    def key(self) -> str:
        """The digest of command, inputs and names of outputs, as the run-cache works it out."""
        from dvc.stage.serialize import to_single_stage_lockfile

        return run_cache_key(to_single_stage_lockfile(self._stage))

    @property
    def is_in_run_cache(self) -> bool:
        """Whether the run-cache holds its results: DVC's own rule (`dvc.stage.cache._can_hash`), by the hashes at hand.

        Of all other stages DVC knows the last result alone, by its lock.
        """
        stage = self._stage
        if self.has_persistent_outputs or not (stage.cmd and stage.deps and stage.outs):
            return False
        return all(dep.protocol == "local" and dep.def_path and dep.hash_info for dep in stage.deps) and all(
            is_inside(out) and out.def_path for out in stage.outs
        )

    def inputs(self) -> LockEntry:
        """The stage's lock entry before it runs: command, hashes of the dependencies, params, names of the outputs."""
        from dvc.stage.serialize import to_single_stage_lockfile

        return {**to_single_stage_lockfile(self._stage), "outs": [{"path": out.def_path} for out in self._stage.outs]}

    def sources(self) -> list[str] | None:
        """The project's files and folders that are dependencies of this stage, params files included.

        :return: paths relative to the project; None if it has dependencies outside.
        """
        root = Path(self._repo.root_dir)
        paths = [Path(dep.fs_path) for dep in self._stage.deps if not self._producers.make_all_of(dep)]
        if not all(dep.protocol == "local" for dep in self._stage.deps) or not all(
            path.is_relative_to(root) for path in paths
        ):
            return None
        return sorted({path.relative_to(root).as_posix() for path in paths})

    def outputs(self, entry: LockEntry) -> list["Output"]:
        """The stage's outputs as this lock entry has them."""
        from dvc.stage.loader import StageLoader

        stage = self._load()
        StageLoader.fill_from_lock(stage, entry)
        return [out for out in stage.outs if out.hash_info]

    def missing(self, entry: LockEntry) -> list[Object]:
        """What of this result neither the cache nor the remote has whole."""
        return [one for out in self.outputs(entry) if is_inside(out) for one in self.objects.missing(out)]

    def changed_outside(self, entry: LockEntry) -> list[str]:
        """Outputs outside the project that are not as this result left them. DVC keeps no copy of those."""
        return [str(out) for out in self.outputs(entry) if not is_inside(out) and not _is_as_it_was(out)]

    def fetch_inputs(self) -> None:
        """Put the outputs of earlier stages that this one reads, and no others, into the workspace.

        Their content is hashed first.

        :raises MissingObjectsError: neither the cache nor the remote has them whole.
        :raises RemoteError: the remote cannot be asked.
        """
        for dep in self._stage.deps:
            for out, subpath in self._producers.absent(dep):
                self._checkout(out, subpath)

    def missing_inputs(self) -> list[MissingObjectsError]:
        """What neither the cache nor the remote has whole of the outputs of earlier stages that this one reads.

        But for those of stages that have not run yet.
        """
        found = []
        for dep in self._stage.deps:
            for out, subpath in self._producers.absent(dep):
                if is_of_stage(out) and not out.hash_info:
                    continue
                if missing := self.objects.missing(out, subpath):
                    found.append(_missing(out, missing))
        return found

    def absent_dependencies(self) -> list[Absent]:
        """What this stage reads and is not there."""
        return list(absent_dependencies(self._stage, self._producers, self._repo))

    def restore_persistent(self, last: LockEntry) -> None:
        """Put the persistent outputs of the last result into the workspace, for the stage to go on with.

        :raises MissingObjectsError: neither the cache nor the remote has them whole.
        """
        for out in self._persistent(last):
            self._checkout(out, None)

    def missing_persistent(self, last: LockEntry) -> MissingObjectsError | None:
        """The error with which `restore_persistent` would end."""
        missing = (self.objects.missing(out) for out in self._persistent(last))
        return next((MissingObjectsError(objects) for objects in missing if objects), None)

    def _persistent(self, entry: LockEntry) -> list["Output"]:
        return [out for out in self.outputs(entry) if out.persist and is_inside(out)]

    def commit(self, entry: LockEntry) -> list[str]:
        """Put all outputs of the stage into the cache: DVC leaves out some with ``cache: false``.

        :return: what it still lacks: DVC does not write over an object that is there, but corrupted.
        """
        for out in self._stage.outs:
            if not out.use_cache and is_inside(out) and out.exists:
                out.use_cache = True
                out.save()
                out.commit()
        return [
            one.name
            for out in self.outputs(entry)
            if is_inside(out)
            for one in self.objects.of(out)
            if not self.objects.cache.has(one)
        ]

    def misread(self, entry: LockEntry) -> list[str]:
        """Inputs that the stage, by its new lock entry, read in another version than the stages before made."""
        used = {dep["path"]: dep.get("md5") for dep in entry.get("deps", [])}
        return [
            dep.def_path
            for dep in self._stage.deps
            if not is_param(dep) and self._producers.of(dep) and used.get(dep.def_path) != dep.hash_info.value
        ]

    def _fill_dependencies(self) -> None:
        """Give each dependency its hash: from the upstream entry where a stage makes it, else from the file."""
        for dep in self._stage.deps:
            producers = self._producers.of(dep)
            if not is_param(dep) and len(producers) == 1 and self._take_hash(dep, *producers[0]):
                continue
            # It is made up of several outputs, has its hash by another rule, or is a file of params.
            absent = self._producers.absent(dep)
            for out, subpath in absent:
                if out.hash_info:
                    self._checkout(out, subpath)
            if is_param(dep):
                if all(out.hash_info for out, _ in absent):  # else the stage that makes the file has not run yet
                    read_params(dep, self._name)
            elif dep.exists:
                dep.save()

    def _take_hash(self, dep: Any, out: "Output", subpath: str | None) -> bool:
        """Give the dependency the hash that an output, or a part of one, has by its lock entry."""
        if out.hash_name != dep.hash_name or not out.hash_info or self._producers.lie_in(dep, out):
            return False
        if subpath is None:
            dep.hash_info, dep.meta = out.hash_info, out.meta
            return True
        prefix = out.fs.relparts(subpath, out.fs_path)
        with attributed_to(out):
            tree = self.objects.tree(out)
        found = tree.get_obj(out.cache, prefix)
        if found is None or found.hash_info is None:
            return False
        meta, _ = tree.get(tuple(prefix)) or (None, None)
        dep.hash_info = found.hash_info
        dep.meta = meta or _folder_meta(found)
        return True

    def _checkout(self, out: "Output", subpath: str | None) -> None:
        with attributed_to(out):
            self.objects.fetch(self.objects.of(out, subpath))
        out.use_cache = True  # DVC's run-cache holds also what dvc.yaml says not to cache; DVC does the same
        out.checkout(force=True, filter_info=subpath, allow_missing=False)


def run_cache_key(entry: LockEntry) -> str:
    """The run-cache's key of a stage with the inputs of this lock entry."""
    from dvc.stage.cache import _get_cache_hash

    return str(_get_cache_hash({**entry}, key=True))


def _missing(out: "Output", objects: list[Object]) -> MissingObjectsError:
    try:
        with attributed_to(out):
            raise MissingObjectsError(objects)
    except MissingObjectsError as error:
        return error


def _is_as_it_was(out: "Output") -> bool:
    """Whether what lies outside the project has the hash of the output's lock entry."""
    return bool(out.exists) and out.get_hash() == out.hash_info


def _folder_meta(tree: Any) -> Any:
    from dvc_data.hashfile.meta import Meta

    return Meta(isdir=True, nfiles=len(tree)) if hasattr(tree, "digest") else Meta()
