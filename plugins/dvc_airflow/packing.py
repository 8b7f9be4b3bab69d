"""Pack the code of a project, as it is now: one state of it, also while git or an editor changes it."""

import logging
import os
import re
import stat
import time
from collections.abc import Collection, Iterable, Iterator
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path

from dvc_airflow.code_pack import LARGEST, CodePack, PackedFile, PackedStage, pack_id
from dvc_airflow.dvc_config import DvcConfig
from dvc_airflow.errors import ChangingCodeError, CodeError
from dvc_airflow.file_hashes import FileHashes
from dvc_airflow.files import FileState, state_of
from dvc_airflow.git_checkout import git_checkout_of
from dvc_airflow.git_state import Commit, commit_of, git_mark, is_changing
from dvc_airflow.lockfile import read_stages
from dvc_airflow.project import DvcProjectError, Project, load_project
from dvc_airflow.project_files import declared_files, is_in, project_content, tracked_files

log = logging.getLogger(__name__)

ATTEMPTS = 5
PAUSE = 0.3  # seconds between them
PRIVATE = re.compile(r"\.env(\..*)?")  # usual names of files with secrets
GIT_SECONDS = 10  # that git may take to change the files; a lock that is older may be one that it left


class Packed:
    """A pack, its list as it is kept, its id, and the commit that the project had."""

    def __init__(self, pack: CodePack, commit: Commit) -> None:
        self.pack, self.commit = pack, commit
        self.text = pack.text()
        self.id = pack_id(self.text)


def pack_project(
    project_dir: Path,
    graph_cache_dir: Path,
    hashes: FileHashes,
    left_out: Collection[str] = (),
    *,
    keep_graph_in: Path | None = None,
) -> Packed:
    """Pack a project.

    :param graph_cache_dir: see `dvc_airflow.project.load_project`.
    :param left_out: stages whose results are those of the project's lock files, as those of frozen stages are.
    :param keep_graph_in: see `dvc_airflow.project.load_project`.
    :raises ChangingCodeError: it changes all the time.
    :raises CodeError: a file that a stage depends on cannot be read, or DVC cannot read the project.
    """
    changed: list[str] = []
    for attempt in range(ATTEMPTS):
        if attempt:
            time.sleep(PAUSE)
        packed, changed = _packed(project_dir, graph_cache_dir, hashes, left_out, keep_graph_in)
        if packed:
            return packed
    raise ChangingCodeError(
        f"{project_dir} changes while it is packed for this run, so that no consistent copy can be made. What changed "
        f"last: {', '.join(changed[:5])}. Let stages and tools write elsewhere, or let git ignore these files."
    )


def _packed(
    project_dir: Path, graph_cache_dir: Path, hashes: FileHashes, left_out: Collection[str], keep_graph_in: Path | None
) -> tuple[Packed | None, list[str]]:
    """:return: the pack; None if the project changed meanwhile, and then what of it."""
    checkout = git_checkout_of(project_dir)
    _wait_for_git(project_dir)
    mark = git_mark(checkout)
    try:
        project = load_project(project_dir, graph_cache_dir, keep_in=keep_graph_in)
        listed = _Listed(project_dir, project, hashes, left_out)
        pack = listed.pack()
    except DvcProjectError as error:
        raise CodeError(str(error)) from None
    except FileNotFoundError as error:
        log.info("%s was removed while the project was packed", error.filename)
        return None, [str(error.filename)]
    as_described = {path: listed.sha256_of(path) for path in project.definitions}
    commit = commit_of(checkout, project_dir)
    changed = [path for path, sha256 in project.hashes.items() if as_described.get(path) != sha256]
    if changed := [*changed, *listed.changed()]:
        return None, changed
    if is_changing(checkout) or mark != git_mark(git_checkout_of(project_dir)):
        return None, ["git's index or HEAD"]
    return Packed(pack, commit), []


def _wait_for_git(project_dir: Path) -> None:
    waited = time.monotonic() + GIT_SECONDS
    while is_changing(checkout := git_checkout_of(project_dir)):
        if time.monotonic() > waited:
            log.warning("git has held its lock in %s for a long time. Was it killed?", checkout and checkout.git_dir)
            return
        time.sleep(PAUSE)


class _Listed:
    """A project's files, each hashed once."""

    def __init__(self, project_dir: Path, project: Project, hashes: FileHashes, left_out: Collection[str]) -> None:
        self._dir, self._project, self._hashes, self._left_out = project_dir, project, hashes, left_out
        self._sources = sorted({source for stage in project.stages for source in stage.sources})
        self._root = project_dir.resolve()
        self._tracked = tracked_files(project_dir)
        self._states: dict[str, FileState] = {}
        self._files: dict[str, PackedFile] = {}
        self._inputs: dict[str, PackedFile] = {}

    def pack(self) -> CodePack:
        """The pack.

        :raises FileNotFoundError: a file vanished.
        """
        project = self._project
        content = project_content(self._dir, (), project.outputs)
        kept = [path for path in content.files if path in self._tracked or not self._is_private(path)]
        self._files = dict(self._described(kept, is_kept=True))
        inputs_of = dict(self._ignored())
        ignored = {path for paths in inputs_of.values() for path in paths}
        self._inputs = dict(self._described(sorted(ignored), is_kept=False))
        return CodePack(
            files=self._files,
            folders=content.folders,
            inputs=self._inputs,
            inputs_of=inputs_of,
            tracked=sorted(self._tracked),
            dvc_config=DvcConfig(self._dir, None, {}).without_secrets(),
            stages={
                one.name: PackedStage(one.command, one.upstream, one.frozen, one.sources) for one in project.stages
            },
            definitions=project.definitions,
            outputs=project.outputs,
            locks=self._locked(),
            params=[asdict(param) for param in project.params],
        )

    def sha256_of(self, path: str) -> str | None:
        """Of a file that was hashed; None if it is not there."""
        found = self._files.get(path) or self._inputs.get(path)
        if found is None:  # an output that the templating reads, or what it would read
            return self._hashes.of(self._dir / path) if (self._dir / path).is_file() else None
        return found.sha256

    def changed(self) -> list[str]:
        """The files that are not as they were when they were hashed."""
        return [path for path, state in self._states.items() if state_of(self._dir / path) != state]

    def _is_private(self, path: str) -> bool:
        """Whether a file that git does not track is none of the code: settings of a place, or Airflow's own files."""
        home = Path(os.environ.get("AIRFLOW_HOME", "~/airflow")).expanduser().resolve()
        in_home = (self._root / path).is_relative_to(home) and not self._root.is_relative_to(home)
        if in_home or PRIVATE.fullmatch(Path(path).name):
            log.info("%s is not packed with the code: git does not track it, and it may hold secrets", path)
            return True
        return False

    def _ignored(self) -> Iterator[tuple[str, list[str]]]:
        """What git ignores of the sources of stages, and DVC does not track."""
        outputs = {*self._project.outputs, *self._added()}
        for source in self._sources:
            paths = [path for path in declared_files(self._dir, source) if path not in self._files]
            if own := [path for path in paths if not is_in(path, outputs)]:
                yield source, own

    def _added(self) -> Iterator[str]:
        """What was added by `dvc add` below a source, by the .dvc files there: DVC itself gives it to the stage."""
        for definition in self._project.definitions:
            if definition.endswith(".dvc") and is_in(definition, self._sources):
                for path in _outs_of((self._dir / definition).read_bytes()):
                    yield os.path.normpath(Path(definition).parent / path)

    def _described(self, paths: Iterable[str], *, is_kept: bool) -> Iterator[tuple[str, PackedFile]]:
        for path in paths:
            try:
                yield path, self._file(path, is_kept=is_kept)
            except PermissionError:
                if is_in(path, self._sources):
                    raise CodeError(
                        f"{self._dir / path} cannot be read by this user, and a stage depends on it. Give the user the "
                        "right."
                    ) from None
                log.warning("%s cannot be read by this user, so the run's code lacks it", self._dir / path)

    def _file(self, path: str, *, is_kept: bool) -> PackedFile:
        file = self._dir / path
        link = os.fspath(file.readlink()) if file.is_symlink() else None
        if link is not None:
            led_to = file.resolve()
            inside = led_to.relative_to(self._root).as_posix() if led_to.is_relative_to(self._root) else None
            link = link if inside and not link.startswith("/") else None
            if file.is_dir():
                return PackedFile(link=link, leads_to=inside or str(led_to))
        status, state = file.stat(), state_of(file)
        sha256 = self._hashes.of(file)
        if state is not None:
            self._states[path] = state
        return PackedFile(
            sha256=sha256,
            size=status.st_size,
            is_executable=bool(status.st_mode & stat.S_IXUSR),
            link=link,
            is_kept=is_kept and status.st_size <= LARGEST,
        )

    def _locked(self) -> dict[str, dict[str, dict[str, object]]]:
        """The entries by which frozen stages, and those that the DAG leaves out, have their results."""
        found: dict[str, dict[str, dict[str, object]]] = {}
        for stage in self._project.stages:
            dvc_yaml, _, name = stage.name.rpartition(":")
            lock_file = f"{dvc_yaml.removesuffix('dvc.yaml')}dvc.lock"
            is_locked = stage.frozen or stage.name in self._left_out
            if is_locked and (entry := read_stages(self._dir / lock_file).get(name)):
                found.setdefault(lock_file, {})[name] = entry
        return found


@lru_cache(maxsize=256)
def _outs_of(dvc_file: bytes) -> tuple[str, ...]:
    """The outputs in a .dvc file that DVC has read, relative to the file."""
    from ruamel.yaml import YAML

    document = YAML(typ="safe", pure=True).load(dvc_file) or {}
    return tuple(os.path.join(document.get("wdir", ""), out["path"]) for out in document.get("outs", ()))
