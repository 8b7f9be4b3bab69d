"""The operators: one DVC stage, and the push of what the stages made."""

import copy
import json
import re
import shlex
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event, Thread
from typing import TYPE_CHECKING, Any

from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import BaseOperatorLink
from airflow.sdk.exceptions import AirflowException, AirflowFailException, AirflowSkipException

from dvc_airflow.environment import base_environment
from dvc_airflow.history import FOLDER, CacheFolder, History, RemoteFolder, digest
from dvc_airflow.key_lock import exclusive
from dvc_airflow.objects import LostError, Objects
from dvc_airflow.process_group import end_group
from dvc_airflow.reasons import compare, judge
from dvc_airflow.remote import REFUSED, RemoteError, RemoteRefusedError, explained, remote_odb
from dvc_airflow.shortcut import Known, Shortcut
from dvc_airflow.workspace import Lock, Workspace, WorkspaceError, merge_locks

if TYPE_CHECKING:
    from airflow.sdk import Context

OUTPUT_FILE = ".dvc/tmp/output.log"
LAST_LINES = 20
PUBLISHED_BYTES = 512 * 1024
# sysexits.h: EX_DATAERR, EX_NOPERM, EX_CONFIG. The same command would end the same way again.
FINAL_EXIT_CODES = frozenset({65, 77, 78})
WATCH_SECONDS = 5
# Where DVC's errors come from that say: a dvc.yaml, a params file or a lock is wrong.
FINAL_DVC_ERRORS = ("dvc.parsing", "dvc.utils.strictyaml", "dvc.utils.serialize", "dvc.dependency.param")

Environment = Callable[[], Mapping[str, str]]


class DvcOperator(BashOperator):
    """A bash command of DVC's in a workspace of its own.

    :param project_dir: root of the DVC project.
    :param definitions: the project's files from which DVC works out the stages, see `Project`.
    :param upstream_stages: ids of the tasks whose lock entries the workspace gets. (XCom)
    :param files: texts that take the place of the project's files in the workspace. (templated: an XComArg)
    :param remote_url: the DVC remote; None: the one of the project's .dvc/config. (templated: an XComArg)
    :param cache_dir: the DVC cache that tasks share, called in the worker. Where it gives None, tasks share none: each
        has an empty one of its own, and what it makes goes to the remote at once.
    :param environment: what the command's process gets beside `base_environment`; called in the worker, so that no
        secret enters the serialised DAG.
    :param credentials: options of the DVC remote, in memory only; called in the worker.
    :param extra_links: buttons on the task in the web UI.
    """

    # Not bash_command: a stage's name is no template, and no value that a run brings may reach a shell.
    template_fields: Sequence[str] = ("files", "remote_url")
    template_ext: Sequence[str] = ()

    def __init__(
        self,
        *,
        project_dir: Path,
        definitions: Sequence[str] = (),
        upstream_stages: Sequence[str] = (),
        files: Any = None,
        remote_url: Any = None,
        cache_dir: Callable[[], Path | None] = lambda: None,
        environment: Environment = dict,
        credentials: Callable[[], Mapping[str, Any]] = dict,
        extra_links: Sequence[BaseOperatorLink] = (),
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.operator_extra_links = tuple(extra_links)
        self.project_dir = project_dir
        self.definitions = tuple(definitions)
        self.upstream_stages = list(upstream_stages)
        self.files = files
        self.remote_url = remote_url
        self._required = [name for name, value in (("files", files), ("remote_url", remote_url)) if value is not None]
        self.cache_dir = cache_dir
        self.environment = environment
        self.credentials = credentials
        self._at_work = False

    def execute(self, context: "Context") -> dict[str, Any]:
        """Do the work of the task; what goes wrong is told in a sentence.

        :raises AirflowFailException: trying again would not help.
        :raises AirflowException: it may pass.
        """
        self._at_work = True
        try:
            return self.work(context)
        except (RemoteRefusedError, LostError) as error:
            raise AirflowFailException(f"task {self.task_id}: {error}") from None
        except (RemoteError, WorkspaceError) as error:
            raise AirflowException(f"task {self.task_id}: {error}") from None
        except Exception as error:
            module = type(error).__module__
            if module.partition(".")[0] != "dvc":
                raise
            kind = AirflowFailException if module.startswith(FINAL_DVC_ERRORS) else AirflowException
            raise kind(f"task {self.task_id}, by DVC: {error}") from error
        finally:
            self._at_work = False

    def work(self, context: "Context") -> dict[str, Any]:
        """What `execute` does."""
        raise NotImplementedError

    def on_kill(self) -> None:
        """Airflow wants the task to stop: end the command with all its processes, or whatever is being done instead."""
        process = self.subprocess_hook.sub_process
        if process is not None and process.returncode is None:
            end_group(process.pid)
        elif self._at_work:
            raise AirflowException(f"task {self.task_id} was told to stop")

    def get_env(self, context: "Context") -> dict[str, str]:
        """An explicit environment instead of the worker's own, which holds Airflow's secrets."""
        ti = context["ti"]
        # Under Airflow's own names, so that a stage can tell a tracker which task it is.
        task = {
            "AIRFLOW_CTX_DAG_ID": ti.dag_id,
            "AIRFLOW_CTX_DAG_RUN_ID": ti.run_id,
            "AIRFLOW_CTX_TASK_ID": ti.task_id,
            "AIRFLOW_CTX_TRY_NUMBER": str(ti.try_number),
        }
        return {**base_environment(), **task, **self.environment()}

    def upstream_results(self, context: "Context") -> list[dict[str, Any]]:
        """What the upstream stage tasks returned.

        :raises AirflowFailException: one of them returned nothing, or not what it had returned any more.
        """
        results = [context["ti"].xcom_pull(task_ids=task_id) for task_id in self.upstream_stages]
        for task_id, result in zip(self.upstream_stages, results, strict=True):
            if not isinstance(result, dict) or "lock" not in result:
                raise AirflowFailException(f"task {task_id} left no lock entry. Clear it, so that it runs again.")
            if result.get("seal") != digest(result["lock"]):
                raise AirflowFailException(
                    f"the lock entry of task {task_id} (its XCom) was cut short or changed. Clear it, so that it runs "
                    "again."
                )
        return results

    def workspace(self, lock: Lock) -> Workspace:
        """A workspace with these lock entries.

        :raises AirflowFailException: a task that was to give ``files`` or ``remote_url`` gave nothing.
        """
        for name in self._required:
            if getattr(self, name) is None:
                raise AirflowFailException(
                    f"no {name}: the task that gives them left nothing. Clear it, to run it again."
                )
        return Workspace(
            self.project_dir, files=self.files, lock=lock, cache_dir=self.cache_dir(), remote_url=self.remote_url
        )

    def run_bash(self, context: "Context", workspace: Workspace, options: str = "") -> None:
        """Run `bash_command` in the workspace.

        :param options: of the command, to put after it.
        :raises AirflowException: it failed; the message ends with the last lines that it printed.
        """
        self.cwd = str(workspace.path)
        output = workspace.path / OUTPUT_FILE
        output.parent.mkdir(parents=True, exist_ok=True)
        command = f"{self.bash_command}{options}"
        try:
            # --norc: a task's stdin is a socket; bash concludes that it runs over a network, and reads ~/.bashrc.
            result = self.subprocess_hook.run_command(
                command=["bash", "--norc", "-c", f"set -o pipefail; {{ {command}; }} 2>&1 | tee {OUTPUT_FILE}"],
                env=self.get_env(context),
                cwd=self.cwd,
            )
        except BaseException:  # a time-out: the workspace goes when nothing runs in it any more
            process = self.subprocess_hook.sub_process
            if process is not None:
                end_group(process.pid)
            raise
        if result.exit_code == 0:
            return
        text = output.read_text(encoding="utf-8", errors="replace") if output.exists() else ""
        raise failure(f"{command} (task {self.task_id})", result.exit_code, text)

    def with_lost_made_again(self, context: "Context", do: Callable[[], Any]) -> Any:
        """Do something with the outputs of earlier stages; a stage whose output is gone or corrupted runs again.

        :raises AirflowFailException: no stage makes what is gone, or it makes something else now.
        """
        made_again: set[str] = set()
        while True:
            try:
                return do()
            except LostError as error:
                if error.maker is None or error.maker in made_again:
                    raise AirflowFailException(f"task {self.task_id}: {error}. {_remedy(error)}") from None
                self.log.warning("%s. Stage %s, which makes it, runs again.", error, error.maker)
                self._make_again(context, error.maker)
                made_again.add(error.maker)

    def _make_again(self, context: "Context", stage: str) -> None:
        dag = self.get_dag()
        tasks = [dag.get_task(task_id) for task_id in self.upstream_stages] if dag else []
        makers = [task for task in tasks if isinstance(task, DvcStageOperator) and task.stage == stage]
        if not makers:
            raise AirflowFailException(f"task {self.task_id}: no task before it runs stage {stage}. Clear all of them.")
        maker = copy.copy(makers[0])
        maker.files, maker.remote_url = self.files, self.remote_url
        maker.__dict__["subprocess_hook"] = self.subprocess_hook  # so that on_kill ends it
        known = context["ti"].xcom_pull(task_ids=maker.task_id)["lock"]
        differences = maker.make_again(context, known)
        if differences:
            raise AirflowFailException(
                f"stage {stage}, whose output was gone, came to other results than before ({differences}). Clear task "
                f"{maker.task_id} and all that follow it."
            )


def failure(what: str, exit_code: int, output: str) -> AirflowException:
    """The exception for a failed command; one that Airflow does not retry if trying again cannot help."""
    lines = output.strip().splitlines()[-LAST_LINES:]
    codes = [int(code) for code in re.findall(r"failed to run: .*, exited with (\d+)", output)]
    # What a stage prints of refusals is its own affair; what DVC prints is about the remote.
    refused = not codes and REFUSED.search("\n".join(lines))
    final = refused or (codes or [exit_code])[-1] in FINAL_EXIT_CODES
    kind = AirflowFailException if final else AirflowException
    return kind(f"{what} failed with exit code {exit_code}. It printed last:\n" + "\n".join(lines))


@dataclass
class Look:
    """What is known of a stage before it is decided whether it runs.

    ``last`` is the lock entry with which the stage ended last time; ``entry`` one of the same inputs that may be used,
    ``maker`` the run that made it and ``published`` what it publishes; ``earlier`` is one of the same inputs, usable or
    not. ``because`` says why the stage has to run all the same; ``key`` is the run-cache's; ``reads`` are the project's
    files that the stage depends on.
    """

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

    Returns ``stage``, ``outcome`` (executed, restored, unchanged), ``reason``, ``seconds``, ``lock`` (the stage's
    entry, by lock file), ``seal`` (its digest), ``executed_in`` (the run that executed it, None where that is not
    known) and ``published``. A stage that need not run is *skipped*, with the same return value.

    :param stage: the stage's name, as ``dvc repro`` takes it.
    :param command: what the stage runs by the project's own files. A run whose values would make it run something else
        is refused: a command is code, and values from users never reach a shell.
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
        self.frozen = frozen
        self.publish = list(publish)
        self.force = force
        self.check_restored = check_restored

    @property
    def _key(self) -> str:
        return self.stage.rpartition(":")[2]

    def work(self, context: "Context") -> dict[str, Any]:
        """Look the stage up; run it only if nothing is known of it, or its result is gone."""
        started = time.monotonic()
        lock = merge_locks(result["lock"] for result in self.upstream_results(context))
        result = self._recalled(context, lock) or self._looked_up(context, lock)
        result["seconds"] = round(time.monotonic() - started, 2)
        self.log.info("Stage %s: %s (%s)", self.stage, result["outcome"], result["reason"])
        if result["outcome"] == "executed":
            return result
        context["ti"].xcom_push(key="return_value", value=result)  # a skipped task returns nothing by itself
        raise AirflowSkipException(f"stage {self.stage} is {result['outcome']}: {result['reason']}")

    def make_again(self, context: "Context", known: Lock) -> str:
        """Run the stage for a later task that finds its outputs gone.

        :return: the outputs that are not what they were, by name; empty if all are.
        """
        lock = merge_locks(result["lock"] for result in self.upstream_results(context))
        with self.workspace(lock) as workspace:
            self._bring_inputs(context, workspace)
            entry = self._execute(context, workspace, lock, _only_file(known), " --force --no-run-cache")
        said = compare(known[_only_file(known)][self._key], entry)
        return "" if said.startswith("reproduced") else said.partition(": ")[2]

    def _recalled(self, context: "Context", lock: Lock) -> dict[str, Any] | None:
        """The result by the shortcut, without DVC."""
        shortcut = self._shortcut(lock, self.project_dir)
        known = shortcut.find() if shortcut and not self.force and not self.frozen else None
        if known is None or known.published.keys() != set(self.publish) or self._unusable(known.published):
            return None
        history = self._history(None)
        last, maker = history.last(self.dag_id, self.stage), history.maker(known.entry)
        outcome, reason = judge(last and last["entry"], known.entry, known.inputs, _outputs(lock), maker)
        if outcome != "unchanged":
            history.record(self.dag_id, context["run_id"], self.stage, known.entry, executed=False)
        return self._result(outcome, reason, maker, known.lock_file, known.entry, known.published)

    def _looked_up(self, context: "Context", lock: Lock) -> dict[str, Any]:
        """The result by DVC: an earlier one, or that of running the stage."""
        cache_dir = self.cache_dir()
        stamps: dict[str, list[int]] = {}
        with self.workspace(lock) as workspace, ExitStack() as stack:
            look = self.with_lost_made_again(context, lambda: self._look(workspace, stamps))
            if look.entry is None and look.key and cache_dir and not self.force:
                stack.enter_context(exclusive(cache_dir / FOLDER / "locks", look.key))
                look = self._look(workspace, stamps)  # another run may have made it meanwhile
            # By the workspace's copy, before the stage runs: the project may change while it does.
            shortcut = self._shortcut(lock, workspace.path)
            name = shortcut.name(look.reads) if shortcut and look.key and look.reads is not None else None
            outcome, reason = judge(look.last, look.entry, look.inputs, _outputs(lock), look.maker, look.because)
            if look.frozen:
                outcome, reason = "unchanged", "frozen in dvc.yaml: the result is the one in dvc.lock"
            entry, published = look.entry, look.published
            if entry is None:
                self.log.info("Stage %s runs (%s)", self.stage, reason)
                self._bring_inputs(context, workspace)
                # What is known may not be used, so DVC must not find it either.
                options = " --force --no-run-cache" if self.force else " --no-run-cache" if look.because else ""
                entry = self._execute(context, workspace, lock, look.lock_file, options)
                if self.force:
                    reason = f"{reason}; {compare(look.earlier, entry)}"
            with self._opened(workspace) as repo:
                if outcome != "unchanged":
                    self._history(repo).record(
                        self.dag_id, context["run_id"], self.stage, entry, executed=outcome == "executed"
                    )
                if look.entry is None:
                    published = self._publish(repo, entry)
                self._keep(repo, look, entry, published, stamps, shortcut if name else None, name or "")
        made_by = {"run_id": context["run_id"]} if outcome == "executed" else look.maker
        return self._result(outcome, reason, made_by, look.lock_file, entry, published)

    def _look(self, workspace: Workspace, stamps: dict[str, list[int]]) -> Look:
        from dvc_airflow.stage_cache import StageCache

        with self._opened(workspace) as repo:
            cache = StageCache(Objects(repo, stamps), self.stage)
            if cache.stage.cmd != self.command:
                raise AirflowFailException(
                    f"stage {self.stage}: the values of this run would change its command in dvc.yaml, which is "
                    "refused. Let the command read the value from a params file instead of ${...}."
                )
            lock_file = _lock_file(cache.stage.path, workspace)
            history = self._history(repo)
            last = history.last(self.dag_id, self.stage)
            look = Look(cache.inputs(), lock_file, cache.files(), cache.stage.frozen, last and last["entry"])
            if look.frozen:
                look.entry = self._frozen_entry(cache, lock_file)
            elif not (because := cache.always_runs()):
                look.key = cache.key if cache.is_restorable() else None
                look.entry = look.earlier = cache.find(self._stamps_of)
                if cache.lost:
                    because = f"{', '.join(cache.lost[:5])} of the earlier result: gone or corrupted"
            if look.entry:
                try:
                    look.maker, look.published = history.maker(look.entry), self._publish(repo, look.entry)
                    because = None if look.frozen else self._unusable(look.published)
                except LostError as error:  # the remote only seemed to have it
                    because = str(error)
            if self.force and not look.frozen:
                because = "forced by this run"
            if because:
                look.entry, look.because = None, because
        return look

    def _frozen_entry(self, cache: Any, lock_file: str) -> dict[str, Any]:
        where = f"stage {self.stage} is frozen in dvc.yaml, so its result is the one in {lock_file}"
        entry = _read_entry(self.project_dir / lock_file, self._key)
        if entry is None:
            raise AirflowFailException(
                f"{where}, which has none. Run `dvc repro {self.stage}` in the project with the stage unfrozen, and "
                f"keep {lock_file} with the project; or take `frozen` out of dvc.yaml."
            )
        lost = [one for out in cache.outputs(entry) for one in cache.objects.lost(out)]
        if lost:
            raise AirflowFailException(f"{where}. {LostError(lost)}. Run `dvc push` where that result was made.")
        return entry

    def _bring_inputs(self, context: "Context", workspace: Workspace) -> None:
        from dvc_airflow.stage_cache import StageCache

        def bring() -> None:
            with self._opened(workspace) as repo:
                StageCache(Objects(repo), self.stage).bring_inputs()

        self.with_lost_made_again(context, bring)

    def _execute(
        self, context: "Context", workspace: Workspace, lock: Lock, lock_file: str, options: str
    ) -> dict[str, Any]:
        """Run the command, check what it read; where no cache is shared, push what it made."""
        from dvc_airflow.stage_cache import StageCache, outputs_to_push, push_run_cache

        self.run_bash(context, workspace, options)
        entry = _read_entry(workspace.path / lock_file, self._key)
        if entry is None:
            raise AirflowException(f"stage {self.stage}: dvc repro left no entry in {lock_file}")
        # DVC has written a lock with this stage alone; what follows needs the ones before it as well.
        workspace.write_lock(merge_locks([lock, {lock_file: {self._key: entry}}]))
        with self._opened(workspace) as repo:
            objects = Objects(repo)
            cache = StageCache(objects, self.stage)
            if lost := cache.put_into_cache(entry):
                raise AirflowException(
                    f"stage {self.stage} made {', '.join(lost)}, which the cache had corrupted. It is removed "
                    "from there; the stage has to run again."
                )
            if differing := cache.differs(entry):
                raise AirflowException(f"stage {self.stage} did not read what the stages before it made: {differing}")
            if self.cache_dir() is None:
                push_all(objects, outputs_to_push(repo, [self.stage]))
                push_run_cache(repo, [entry])
        return entry

    def _unusable(self, published: Mapping[str, str]) -> str | None:
        return self.check_restored(published) if self.check_restored else None

    def _publish(self, repo: Any, entry: Mapping[str, Any]) -> dict[str, str]:
        """The content of the small text outputs that later tasks want."""
        from dvc_airflow.stage_cache import StageCache

        if not self.publish:
            return {}
        objects = Objects(repo)
        outs = {out.def_path: out for out in StageCache(objects, self.stage).outputs(dict(entry))}
        published = {}
        for path in self.publish:
            if path not in outs:
                raise AirflowFailException(f"{path} is no output of {self.stage}: mend the list of published files.")
            content = objects.read(outs[path])
            if len(content) > PUBLISHED_BYTES:
                raise AirflowFailException(
                    f"{path} is too large for an XCom ({len(content)} bytes): do not publish it."
                )
            published[path] = content.decode()
        return published

    def _keep(
        self,
        repo: Any,
        look: Look,
        entry: dict[str, Any],
        published: dict[str, str],
        stamps: dict[str, list[int]],
        shortcut: Shortcut | None,
        name: str,
    ) -> None:
        """Let later tasks know the result and how its files look, if all of it is in the shared cache."""
        from dvc_airflow.stage_cache import StageCache, objects_of

        cache_dir = self.cache_dir()
        if cache_dir is None or look.key is None:
            return
        objects = Objects(repo, stamps)
        own = objects_of(objects, StageCache(objects, self.stage).outputs(entry))
        if own and all(objects.in_cache(one) for one in own):
            kept = {path: stamps[path] for path in map(objects.cache_path, own)}
            with suppress(OSError):  # a full or read-only cache costs time, not the run
                CacheFolder(cache_dir).write(json.dumps(kept).encode(), "stamps", digest(entry))
            if shortcut and look.reads is not None:
                shortcut.keep(look.reads, name, Known(look.inputs, entry, look.lock_file, kept, published))

    def _stamps_of(self, entry: dict[str, Any]) -> dict[str, list[int]]:
        """What an earlier task found of this entry's files in the shared cache."""
        cache_dir = self.cache_dir()
        try:
            return dict(json.loads(CacheFolder(cache_dir).read("stamps", digest(entry)))) if cache_dir else {}
        except (OSError, ValueError, TypeError):
            return {}

    def _shortcut(self, lock: Lock, project_dir: Path) -> Shortcut | None:
        cache_dir = self.cache_dir()
        if cache_dir is None:
            return None
        return Shortcut(cache_dir, project_dir, self.stage, self.definitions, self.files or {}, lock)

    def _history(self, repo: Any) -> History:
        cache_dir = self.cache_dir()
        return History(CacheFolder(cache_dir) if cache_dir else RemoteFolder(repo))

    @contextmanager
    def _opened(self, workspace: Workspace) -> Iterator[Any]:
        from dvc_airflow.stage_cache import open_repo

        with open_repo(workspace, self.credentials()) as repo:
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


class DvcPushOperator(DvcOperator):
    """``dvc push`` of all that the stages of this run made, and the proof that the remote has it.

    Where the remote proves to have everything already, there is nothing to run. Returns ``objects`` and ``bytes`` that
    the remote holds for this run, ``pushed`` (how many of them it lacked), and ``remote_url``.
    """

    ui_color = "#d5ecf4"

    def __init__(self, **kwargs: Any) -> None:
        kwargs.setdefault("bash_command", "dvc push")
        kwargs.setdefault("trigger_rule", "none_failed")
        super().__init__(**kwargs)

    def work(self, context: "Context") -> dict[str, Any]:
        """Prove, push what is missing, prove again; then push the run-cache entries, so that others can restore."""
        from dvc_airflow.stage_cache import objects_of, open_repo, outputs_to_push, push_run_cache

        results = self.upstream_results(context)
        lock, stages = merge_locks(result["lock"] for result in results), [result["stage"] for result in results]
        with self.workspace(lock) as workspace:

            def absent() -> int:
                with open_repo(workspace, self.credentials()) as repo:
                    objects = Objects(repo)
                    return len(objects.absent_from_remote(objects_of(objects, outputs_to_push(repo, stages))))

            def push() -> tuple[int, int, str]:
                with open_repo(workspace, self.credentials()) as repo:
                    objects = Objects(repo)
                    sizes = push_all(objects, outputs_to_push(repo, stages))
                    push_run_cache(repo, [entry for stages in lock.values() for entry in stages.values()])
                    return len(sizes), sum(sizes.values()), objects.address

            missing = self.with_lost_made_again(context, absent)
            if missing:
                self.log.info("The remote lacks %s objects of this run", missing)
                with open_repo(workspace, self.credentials()) as repo, self._watched(repo):
                    self.run_bash(context, workspace)
            count, size, where = self.with_lost_made_again(context, push)
        self.log.info("%s objects (%s bytes) of this run are in %s", count, size, where)
        return {"objects": count, "bytes": size, "pushed": missing, "remote_url": self.remote_url}

    @contextmanager
    def _watched(self, repo: Any) -> Iterator[None]:
        """End the command if the remote falls silent: DVC would try every object before it gives up.

        :raises RemoteError: the remote fell silent, and the command failed.
        """
        stop = Event()
        failures: list[RemoteError] = []

        def watch() -> None:
            while len(failures) < 2 and not stop.wait(WATCH_SECONDS):
                try:
                    with explained(repo):
                        odb = remote_odb(repo)
                        odb.fs.exists(odb.fs.join(odb.path, "probe"))
                    failures.clear()
                except RemoteError as error:
                    failures.append(error)
            process = self.subprocess_hook.sub_process
            if len(failures) == 2 and process is not None and process.returncode is None:
                end_group(process.pid)

        thread = Thread(target=watch, daemon=True)
        thread.start()
        try:
            yield
        except AirflowException:
            if len(failures) == 2:
                raise failures[-1] from None
            raise
        finally:
            stop.set()


def push_all(objects: Objects, outs: Iterable[Any]) -> dict[str, int]:
    """Have the remote hold all objects of these outputs, and prove it.

    :return: their sizes in bytes, by hash.
    :raises LostError: neither the cache nor the remote has them whole.
    """
    from dvc_airflow.stage_cache import objects_of, whose

    for out in outs:
        with whose(out):
            own = objects_of(objects, [out])
            if absent := objects.absent_from_remote(own):
                objects.push(absent)
                if lost := objects.absent_from_remote(absent):
                    raise LostError(lost)
    return dict(objects.sizes)


def _remedy(error: LostError) -> str:
    if error.maker is None:
        return "No stage makes it: run `dvc push` in a checkout that has it."
    return f"Stage {error.maker} ran again and did not bring it back."


def _outputs(lock: Lock) -> frozenset[str]:
    return frozenset(out["path"] for stages in lock.values() for entry in stages.values() for out in entry["outs"])


def _only_file(lock: Lock) -> str:
    (file,) = lock
    return file


def _lock_file(dvc_yaml: str, workspace: Workspace) -> str:
    return Path(dvc_yaml).with_name("dvc.lock").resolve().relative_to(workspace.path.resolve()).as_posix()


def _read_entry(lock_file: Path, key: str) -> dict[str, Any] | None:
    from ruamel.yaml import YAML

    if not lock_file.is_file():
        return None
    document = YAML(typ="safe", pure=True).load(lock_file.read_text(encoding="utf-8"))
    entry = document.get("stages", {}).get(key)
    return json.loads(json.dumps(entry)) if entry else None
