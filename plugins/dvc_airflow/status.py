"""What is known of a stage before it runs: its key, and an earlier result."""

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dvc_airflow.dvc.object import MissingObjectsError
from dvc_airflow.dvc.objects import Objects
from dvc_airflow.dvc.repo import DvcWorkspace
from dvc_airflow.dvc.resolve import ResolvedStage, run_cache_key
from dvc_airflow.dvc.run_cache import RunCache
from dvc_airflow.errors import TaskError
from dvc_airflow.files import FileStates
from dvc_airflow.lockfile import LockEntry
from dvc_airflow.memo import Memo
from dvc_airflow.project_code import ProjectCode
from dvc_airflow.refusals import refuse_other_command
from dvc_airflow.stage_settings import StageSettings

if TYPE_CHECKING:
    from dvc.repo import Repo

log = logging.getLogger(__name__)

# The last result of a stage in its DAG, by the history in the shared cache or in the opened workspace's remote.
FindLast = Callable[["Repo"], LockEntry | None]
PUBLISHED_BYTES = 512 * 1024


@dataclass(frozen=True)
class StageStatus:
    """What is known of a stage.

    :param stage: DVC's view of it, with the hashes of its dependencies.
    :param inputs: its lock entry of this run, its outputs without hashes.
    :param key: under which results of the same inputs are known; None if DVC can reuse none.
    :param is_in_run_cache: whether the run-cache holds them; else the last result alone is known.
    :param known: a result of the same inputs; whether it may be used says ``cause``.
    :param published: what that result publishes.
    :param cause: why the stage has to run whatever changed.
    :param candidates: names of the run-cache entries of its key that the cache has.
    """

    stage: ResolvedStage
    inputs: LockEntry
    key: str | None
    is_in_run_cache: bool
    known: LockEntry | None
    published: dict[str, str]
    cause: str | None
    candidates: frozenset[str]

    @property
    def usable(self) -> LockEntry | None:
        """The earlier result, where it takes the place of an execution."""
        return None if self.cause else self.known

    def may_be_outdated(self, workspace: DvcWorkspace) -> bool:
        """Whether another run may have left a result of the same inputs by now."""
        if self.key is None or not self.is_in_run_cache:
            return self.key is not None
        with workspace.repo() as repo:
            return RunCache(repo, workspace.only_read).names(self.key) != self.candidates


def stage_status(
    workspace: DvcWorkspace, settings: StageSettings, memo: Memo, states: FileStates, last: FindLast, *, force: bool
) -> StageStatus:
    """Work out what is known of a stage: its key, and an earlier result with the same key that is still intact.

    Moves no data but the lists of folders.

    :param states: how cache files were when their content was last found to be right. Added to.
    :param last: finds the stage's last result in this DAG: what DVC's lock is to a checkout.
    :raises TaskError: the run's values would change the stage's command, or it is frozen without a result.
    :raises MissingObjectsError: what gives the hash of a dependency is missing.
    """
    with workspace.repo() as repo:
        objects = Objects(repo, states, workspace.only_read)
        stage, run_cache = ResolvedStage(objects, settings.name), RunCache(repo, workspace.only_read)
        refuse_other_command(settings, stage)
        inputs = stage.inputs()
        if stage.is_frozen:
            frozen, published = _frozen(stage, settings, workspace.code)
            return StageStatus(stage, inputs, None, False, frozen, published, None, frozenset())
        known, published, cause = None, {}, stage.always_runs()
        candidates: frozenset[str] = frozenset()
        key, is_in_run_cache = None if cause else stage.key, stage.is_in_run_cache
        if key and is_in_run_cache:
            candidates = run_cache.names(key)  # before we look: others may add some meanwhile
            known, cause = _first_intact(stage, run_cache.entries(key), memo, states)
        elif key:
            known, cause = _first_intact(stage, _with_key(key, last(repo)), memo, states)
        if known is not None:
            try:
                published = published_by(stage, settings, known)
                cause = settings.unusable(published)
            except MissingObjectsError as error:  # the remote only seemed to have it
                cause = str(error)
        if force:
            cause = "forced by this run"
        return StageStatus(stage, inputs, key, is_in_run_cache, known, published, cause, candidates)


def published_by(stage: ResolvedStage, settings: StageSettings, entry: LockEntry) -> dict[str, str]:
    """The content of the small text outputs that the DAG wants of a result.

    :raises TaskError: one is not an output of the stage, or too large.
    :raises MissingObjectsError: one is missing from cache and remote.
    """
    outs = {out.def_path: out for out in stage.outputs(entry)} if settings.publish else {}
    published = {}
    for path in settings.publish:
        if path not in outs:
            raise TaskError(f"{path} is not an output of {settings.name}: correct `publish` of its operator.")
        content = stage.objects.read(outs[path])
        if len(content) > PUBLISHED_BYTES:
            raise TaskError(f"{path} is too large for an XCom ({len(content)} bytes): do not publish it.")
        published[path] = content.decode()
    return published


def _with_key(key: str, last: LockEntry | None) -> list[LockEntry]:
    """The last result, if it is one of these inputs."""
    return [last] if last and run_cache_key(last) == key else []


def _first_intact(
    stage: ResolvedStage, entries: Iterable[LockEntry], memo: Memo, states: FileStates
) -> tuple[LockEntry | None, str | None]:
    """:return: the first of these results that is intact; else why there is none, if that is known."""
    cause = None
    for entry in entries:
        states.update(memo.file_states(entry))
        objects, changed = stage.missing(entry), stage.changed_outside(entry)
        if not objects and not changed:
            return entry, None
        if objects:
            log.warning("An earlier result cannot be used: %s", MissingObjectsError(objects))
            missing = sorted(one.name for one in objects)
            cause = f"{', '.join(missing[:5])} of the earlier result: missing or corrupted"
        else:
            cause = f"{', '.join(changed)} of the earlier result: changed or gone"
    return None, cause


def _frozen(stage: ResolvedStage, settings: StageSettings, code: ProjectCode) -> tuple[LockEntry, dict[str, str]]:
    """:return: the entry of a frozen stage in the project's lock file, and what it publishes."""
    where = f"stage {settings.name} is frozen in dvc.yaml, so its result is the one in {stage.lock_file}"
    entry = code.locked(stage.lock_file, settings.short_name)
    if entry is None:
        raise TaskError(
            f"{where}, which has no entry for it. Run `dvc repro {settings.name}` in the project with the stage "
            f"unfrozen, and keep {stage.lock_file} with the project; or remove `frozen` from dvc.yaml."
        )
    try:
        if missing := stage.missing(entry):
            raise MissingObjectsError(missing)
        return entry, published_by(stage, settings, entry)
    except MissingObjectsError as error:
        raise TaskError(f"{where}. {error}. Run `dvc push` where that result was made.") from None
