"""`DvcStageOperator`: one DVC stage, looked up, or run."""

import json
import shlex
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.sdk.exceptions import AirflowException, AirflowFailException, AirflowSkipException

from dvc_airflow.history import FOLDER, CacheFolder, History, RemoteFolder, digest
from dvc_airflow.key_lock import exclusive
from dvc_airflow.lock import Lock, lock_file_of, merge_locks, only_file, output_paths, read_entry
from dvc_airflow.objects import LostError, Object, Objects
from dvc_airflow.operators.base import DvcOperator
from dvc_airflow.outputs import objects_of, outputs_to_push, push_all, push_run_cache
from dvc_airflow.reasons import compare, judge
from dvc_airflow.repo import open_repo
from dvc_airflow.shortcut import Known, Shortcut
from dvc_airflow.stage_cache import StageCache, run_cache_key
from dvc_airflow.workspace import Workspace

if TYPE_CHECKING:
    from airflow.sdk import Context

PUBLISHED_BYTES = 512 * 1024


@dataclass
class Look:
    """What is known of a stage before it is decided whether it runs.

    ``last`` is the lock entry with which the stage ended last time; ``entry`` one of the same inputs that may be used,
    ``maker`` the run that made it and ``published`` what it publishes; ``earlier`` is one of the same inputs, usable or
    not. ``because`` says why the stage has to run all the same; ``key`` is the run-cache's; ``reads`` are the project's
    files that the stage depends on. ``cache`` is the `StageCache` that was asked.
    """

    cache: StageCache
    inputs: dict[str, Any]
    lock_file: str
    reads: list[str] | None
    frozen: bool
    last: dict[str, Any] | None
    entry: dict[str, Any] | None = None
    maker: dict[str, Any] | None = None
    published: dict[str, str] = field(default_factory=dict)
    earlier: dict[str, Any] | None = None
    because: str | None = None
    key: str | None = None


class DvcStageOperator(DvcOperator):
    """One stage of a DVC project.

    Returns ``stage``, ``outcome`` (executed, restored, unchanged), ``reason``, ``started_at`` (UTC), ``seconds``,
    ``lock`` (the stage's entry, by lock file), ``seal`` (its digest), ``executed_in`` (the run that executed it, None
    where that is not known) and ``published``. A stage that need not run is *skipped*, with the same return value.

    :param stage: the stage's name, as ``dvc repro`` takes it.
    :param command: what the stage runs by the project's own files. A run whose values would make it run something else
        is refused: a command is code, and values from users never reach a shell.
    :param definitions: the project's files from which DVC works out the stages, see `Project`.
    :param frozen: its result is the one in the project's dvc.lock.
    :param publish: small text outputs whose content goes into the XCom, for tasks after the pipeline.
    :param force: run the stage whatever is known, and say whether it reproduced. (templated: an XComArg)
    :param check_restored: called in the worker with the published outputs of an earlier result; returns why that may
        not be used any more, or None.
    """

    ui_color = "#d5ecf4"
    template_fields: Sequence[str] = (*DvcOperator.template_fields, "force")

    def __init__(
        self,
        *,
        stage: str,
        command: str | list[str],
        definitions: Sequence[str] = (),
        frozen: bool = False,
        publish: Sequence[str] = (),
        force: Any = False,
        check_restored: Callable[[Mapping[str, str]], str | None] | None = None,
        **kwargs: Any,
    ) -> None:
        kwargs.setdefault("bash_command", f"dvc repro --single-item {shlex.quote(stage)}")
        kwargs.setdefault("trigger_rule", "none_failed")  # an upstream stage that was skipped has its result too
        super().__init__(**kwargs)
        self.stage = stage
        self.command = command
        self.definitions = tuple(definitions)
        self.frozen = frozen
        self.publish = list(publish)
        self.force = force
        self.check_restored = check_restored

    @property
    def _key(self) -> str:
        return self.stage.rpartition(":")[2]

    def work(self, context: "Context") -> dict[str, Any]:
        """Look the stage up; run it only if nothing is known of it, or its result is gone."""
        started, started_at = time.monotonic(), datetime.now(UTC).isoformat(timespec="seconds")
        lock = merge_locks(result["lock"] for result in self.upstream_results(context))
        result = self._recalled(context, lock) or self._looked_up(context, lock)
        result |= {"started_at": started_at, "seconds": round(time.monotonic() - started, 2)}
        self.log.info("Stage %s: %s (%s)", self.stage, result["outcome"], result["reason"])
        if result["outcome"] == "executed":
            return result
        context["ti"].xcom_push(key="return_value", value=result)  # a skipped task returns nothing by itself
        raise AirflowSkipException(f"stage {self.stage} is {result['outcome']}: {result['reason']}")

    def make_again(self, context: "Context", known: Lock, lost: Sequence[Object]) -> None:
        """Run the stage for a later task that finds its outputs gone; once, if several find that at the same time.

        :param known: what the stage's task returned as its lock entry.
        :param lost: what is gone. The stage's other outputs may come out differently; they are still there.
        """
        lock = merge_locks(result["lock"] for result in self.upstream_results(context))
        self._shared_cache = self.cache_dir()
        lock_file = only_file(known)
        with self.workspace(lock) as workspace, ExitStack() as stack:
            if self._shared_cache:
                key = run_cache_key(known[lock_file][self._key])
                stack.enter_context(exclusive(self._shared_cache / FOLDER / "locks", key))
                with self._opened(workspace) as repo:
                    objects = Objects(repo)
                    if all(objects.in_cache(one) for one in lost):
                        return  # another task has had it made meanwhile
            entry = self._execute(context, workspace, lock, lock_file, " --force --no-run-cache")
            with self._opened(workspace) as repo:
                self._taken_in(Objects(repo), entry)

    def _recalled(self, context: "Context", lock: Lock) -> dict[str, Any] | None:
        """The result by the shortcut, without DVC."""
        shortcut = self._shortcut(lock, self.project_dir)
        known = shortcut.find() if shortcut and not self.force and not self.frozen else None
        if known is None or known.published.keys() != set(self.publish) or self._unusable(known.published):
            return None
        history = self._history(None)
        last, maker = history.last(self.dag_id, self.stage), history.maker(known.entry)
        outcome, reason = judge(last and last["entry"], known.entry, known.inputs, output_paths(lock), maker)
        if outcome != "unchanged":
            history.record(self.dag_id, context["run_id"], self.stage, known.entry, executed=False)
        return self._result(outcome, reason, maker, known.lock_file, known.entry, known.published)

    def _looked_up(self, context: "Context", lock: Lock) -> dict[str, Any]:
        """The result by DVC: an earlier one, or that of running the stage."""
        cache_dir = self._shared_cache
        stamps: dict[str, list[int]] = {}
        with self.workspace(lock) as workspace, ExitStack() as stack:
            look = self.with_lost_made_again(context, lambda: self._look(workspace, stamps))
            if look.entry is None and look.key and cache_dir and not self.force:
                waited = stack.enter_context(exclusive(cache_dir / FOLDER / "locks", look.key))
                if waited or look.because or look.cache.is_overtaken():  # another run may have made it meanwhile
                    look = self._look(workspace, stamps)
            # By the workspace's copy, before the stage runs: the project may change while it does.
            shortcut = self._shortcut(lock, workspace.path)
            name = shortcut.name(look.reads) if shortcut and look.key and look.reads is not None else None
            outcome, reason = judge(look.last, look.entry, look.inputs, output_paths(lock), look.maker, look.because)
            if look.frozen:
                outcome, reason = "unchanged", "frozen in dvc.yaml: the result is the one in dvc.lock"
            entry, published = look.entry, look.published
            if entry is None:
                self.log.info("Stage %s runs (%s)", self.stage, reason)
                # What is known may not be used, so DVC must not find it either.
                options = " --force --no-run-cache" if self.force else " --no-run-cache" if look.because else ""
                entry = self._execute(context, workspace, lock, look.lock_file, options)
                if self.force:
                    reason = f"{reason}; {compare(look.earlier, entry)}"
            with self._opened(workspace) as repo:
                cache = look.cache
                if look.entry is None:
                    cache = self._taken_in(Objects(repo, stamps), entry)
                    published = self._publish(cache, entry)
                if outcome != "unchanged":
                    self._history(repo).record(
                        self.dag_id, context["run_id"], self.stage, entry, executed=outcome == "executed"
                    )
                self._keep(cache, look, entry, published, shortcut if name else None, name or "")
        made_by = {"run_id": context["run_id"]} if outcome == "executed" else look.maker
        return self._result(outcome, reason, made_by, look.lock_file, entry, published)

    def _look(self, workspace: Workspace, stamps: dict[str, list[int]]) -> Look:
        with self._opened(workspace) as repo:
            cache = StageCache(Objects(repo, stamps), self.stage)
            if cache.stage.cmd != self.command:
                raise AirflowFailException(
                    f"stage {self.stage}: the values of this run would change its command in dvc.yaml, which is "
                    "refused. Let the command read the value from a params file instead of ${...}."
                )
            lock_file = lock_file_of(cache.stage.path, workspace.path)
            history = self._history(repo)
            last = history.last(self.dag_id, self.stage)
            look = Look(cache, cache.inputs(), lock_file, cache.files(), cache.stage.frozen, last and last["entry"])
            if look.frozen:
                look.entry = self._frozen_entry(cache, lock_file)
            elif not (because := cache.always_runs()):
                look.key = cache.key if cache.is_restorable() else None
                look.entry = look.earlier = cache.find(self._stamps_of)
                if cache.lost:
                    because = f"{', '.join(cache.lost[:5])} of the earlier result: gone or corrupted"
            if look.entry:
                try:
                    look.maker, look.published = history.maker(look.entry), self._publish(cache, look.entry)
                    because = None if look.frozen else self._unusable(look.published)
                except LostError as error:  # the remote only seemed to have it
                    because = str(error)
            if self.force and not look.frozen:
                because = "forced by this run"
            if because:
                look.entry, look.because = None, because
        return look

    def _frozen_entry(self, cache: StageCache, lock_file: str) -> dict[str, Any]:
        where = f"stage {self.stage} is frozen in dvc.yaml, so its result is the one in {lock_file}"
        entry = read_entry(self.project_dir / lock_file, self._key)
        if entry is None:
            raise AirflowFailException(
                f"{where}, which has none. Run `dvc repro {self.stage}` in the project with the stage unfrozen, and "
                f"keep {lock_file} with the project; or take `frozen` out of dvc.yaml."
            )
        lost = [one for out in cache.outputs(entry) for one in cache.objects.lost(out)]
        if lost:
            raise AirflowFailException(f"{where}. {LostError(lost)}. Run `dvc push` where that result was made.")
        return entry

    def _execute(
        self, context: "Context", workspace: Workspace, lock: Lock, lock_file: str, options: str
    ) -> dict[str, Any]:
        """Bring the inputs, and run the command.

        :return: the stage's new lock entry.
        """

        def bring() -> None:
            with self._opened(workspace) as repo:
                StageCache(Objects(repo), self.stage).bring_inputs()

        self.with_lost_made_again(context, bring)
        self.run_bash(context, workspace, options)
        entry = read_entry(workspace.path / lock_file, self._key)
        if entry is None:
            raise AirflowException(f"stage {self.stage}: dvc repro left no entry in {lock_file}")
        # DVC has written a lock with this stage alone; what follows needs the ones before it as well.
        workspace.write_lock(merge_locks([lock, {lock_file: {self._key: entry}}]))
        return entry

    def _taken_in(self, objects: Objects, entry: dict[str, Any]) -> StageCache:
        """Have the cache hold what the stage made, and check what it read; where no cache is shared, push it."""
        cache = StageCache(objects, self.stage)
        if lost := cache.put_into_cache(entry):
            raise AirflowException(
                f"stage {self.stage} made {', '.join(lost)}, which the cache had corrupted. It is removed "
                "from there; the stage has to run again."
            )
        if differing := cache.differs(entry):
            raise AirflowException(f"stage {self.stage} did not read what the stages before it made: {differing}")
        if self._shared_cache is None:
            push_all(objects, outputs_to_push(objects.repo, [self.stage]))
            push_run_cache(objects.repo, [entry])
        return cache

    def _unusable(self, published: Mapping[str, str]) -> str | None:
        return self.check_restored(published) if self.check_restored else None

    def _publish(self, cache: StageCache, entry: dict[str, Any]) -> dict[str, str]:
        """The content of the small text outputs that later tasks want."""
        if not self.publish:
            return {}
        outs = {out.def_path: out for out in cache.outputs(entry)}
        published = {}
        for path in self.publish:
            if path not in outs:
                raise AirflowFailException(
                    f"{path} is not an output of {self.stage}: correct `publish` of its operator."
                )
            content = cache.objects.read(outs[path])
            if len(content) > PUBLISHED_BYTES:
                raise AirflowFailException(
                    f"{path} is too large for an XCom ({len(content)} bytes): do not publish it."
                )
            published[path] = content.decode()
        return published

    def _keep(
        self,
        cache: StageCache,
        look: Look,
        entry: dict[str, Any],
        published: dict[str, str],
        shortcut: Shortcut | None,
        name: str,
    ) -> None:
        """Let later tasks know the result and how its files look, if all of it is in the shared cache."""
        cache_dir = self._shared_cache
        if cache_dir is None or look.key is None:
            return
        objects = cache.objects
        own = objects_of(objects, cache.outputs(entry))
        if own and all(objects.in_cache(one) for one in own):
            kept = {path: objects.stamps[path] for path in map(objects.cache_path, own)}
            with suppress(OSError):  # a full or read-only cache costs time, not the run
                CacheFolder(cache_dir).write(json.dumps(kept).encode(), "stamps", digest(entry))
            if shortcut and look.reads is not None:
                shortcut.keep(look.reads, name, Known(look.inputs, entry, look.lock_file, kept, published))

    def _stamps_of(self, entry: dict[str, Any]) -> dict[str, list[int]]:
        """What an earlier task found of this entry's files in the shared cache."""
        cache_dir = self._shared_cache
        try:
            return dict(json.loads(CacheFolder(cache_dir).read("stamps", digest(entry)))) if cache_dir else {}
        except (OSError, ValueError, TypeError):
            return {}

    def _shortcut(self, lock: Lock, project_dir: Path) -> Shortcut | None:
        cache_dir = self._shared_cache
        if cache_dir is None:
            return None
        return Shortcut(cache_dir, project_dir, self.stage, self.definitions, self.files or {}, lock)

    def _history(self, repo: Any) -> History:
        cache_dir = self._shared_cache
        return History(CacheFolder(cache_dir) if cache_dir else RemoteFolder(repo))

    @contextmanager
    def _opened(self, workspace: Workspace) -> Iterator[Any]:
        with open_repo(workspace, self.credentials) as repo:
            yield repo

    def _result(
        self,
        outcome: str,
        reason: str,
        maker: Mapping[str, Any] | None,
        lock_file: str,
        entry: dict[str, Any],
        published: dict[str, str],
    ) -> dict[str, Any]:
        own = {lock_file: {self._key: entry}}
        return {
            "stage": self.stage,
            "outcome": outcome,
            "reason": reason,
            "executed_in": maker and maker["run_id"],
            "lock": own,
            "seal": digest(own),
            "published": published,
        }
