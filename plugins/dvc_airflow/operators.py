"""The operators: one DVC stage, and the push of what the stages made."""

import json
import re
import shlex
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import BaseOperatorLink
from airflow.sdk.exceptions import AirflowException, AirflowFailException, AirflowSkipException

from dvc_airflow.environment import base_environment
from dvc_airflow.history import History
from dvc_airflow.reasons import judge
from dvc_airflow.workspace import Lock, Workspace, merge_locks

if TYPE_CHECKING:
    from airflow.sdk import Context

OUTPUT_FILE = ".dvc/tmp/output.log"
LAST_LINES = 20
PUBLISHED_BYTES = 512 * 1024
# sysexits.h: EX_DATAERR, EX_NOPERM, EX_CONFIG. The same command would end the same way again.
FINAL_EXIT_CODES = frozenset({65, 77, 78})
# What S3 clients print when a store refuses the credentials.
REFUSED = r"\b(Forbidden|AccessDenied|InvalidAccessKeyId|SignatureDoesNotMatch)\b"

Environment = Callable[[], Mapping[str, str]]


class DvcOperator(BashOperator):
    """A bash command of DVC's in a workspace of its own.

    :param project_dir: root of the DVC project.
    :param upstream_stages: ids of the tasks whose lock entries the workspace gets. (XCom)
    :param files: texts that take the place of the project's files in the workspace. (templated: an XComArg)
    :param remote_url: the DVC remote. (templated: an XComArg)
    :param cache_dir: the DVC cache that tasks share; called in the worker.
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
        self.upstream_stages = list(upstream_stages)
        self.files = files
        self.remote_url = remote_url
        self._required = [name for name, value in (("files", files), ("remote_url", remote_url)) if value is not None]
        self.cache_dir = cache_dir
        self.environment = environment
        self.credentials = credentials

    def get_env(self, context: "Context") -> dict[str, str]:
        """An explicit environment instead of the worker's own, which holds Airflow's secrets."""
        return {**base_environment(), **self.environment()}

    def upstream_results(self, context: "Context") -> list[dict[str, Any]]:
        """What the upstream stage tasks returned.

        :raises AirflowFailException: one of them returned nothing.
        """
        results = [context["ti"].xcom_pull(task_ids=task_id) for task_id in self.upstream_stages]
        for task_id, result in zip(self.upstream_stages, results, strict=True):
            if not isinstance(result, dict) or "lock" not in result:
                raise AirflowFailException(f"task {task_id} left no lock entry. Clear it, so that it runs again.")
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

    def run_bash(self, context: "Context", workspace: Workspace) -> None:
        """Run `bash_command` in the workspace.

        :raises AirflowException: it failed; the message ends with the last lines that it printed.
        """
        self.cwd = str(workspace.path)
        output = workspace.path / OUTPUT_FILE
        output.parent.mkdir(parents=True, exist_ok=True)
        command = f"set -o pipefail; {{ {self.bash_command}; }} 2>&1 | tee {OUTPUT_FILE}"
        # --norc: a task's stdin is a socket, from which bash concludes that it runs over a network and reads ~/.bashrc.
        result = self.subprocess_hook.run_command(
            command=["bash", "--norc", "-c", command], env=self.get_env(context), cwd=self.cwd
        )
        if result.exit_code == 0:
            return
        text = output.read_text(encoding="utf-8", errors="replace") if output.exists() else ""
        raise failure(f"{self.bash_command} (task {self.task_id})", result.exit_code, text)


def failure(what: str, exit_code: int, output: str) -> AirflowException:
    """The exception for a failed command; one that Airflow does not retry if trying again cannot help."""
    lines = output.strip().splitlines()[-LAST_LINES:]
    codes = [int(code) for code in re.findall(r"failed to run: .*, exited with (\d+)", output)]
    final = (codes or [exit_code])[-1] in FINAL_EXIT_CODES or re.search(REFUSED, "\n".join(lines))
    kind = AirflowFailException if final else AirflowException
    return kind(f"{what} failed with exit code {exit_code}. It printed last:\n" + "\n".join(lines))


class DvcStageOperator(DvcOperator):
    """One stage of a DVC project.

    Returns ``stage``, ``outcome`` (executed, restored, unchanged), ``reason``, ``seconds``, ``lock`` (the stage's
    entry, by lock file), ``executed_in`` (the run that executed it, None where that is not known) and ``published``.
    A stage that need not run is *skipped*, with the same return value.

    :param stage: the stage's name, as ``dvc repro`` takes it.
    :param command: what the stage runs by the project's own files. A run whose values would make it run something else
        is refused: a command is code, and values from users never reach a shell.
    :param publish: small text outputs whose content goes into the XCom, for tasks after the pipeline.
    """

    ui_color = "#d5ecf4"

    def __init__(self, *, stage: str, command: str | list[str], publish: Sequence[str] = (), **kwargs: Any) -> None:
        kwargs.setdefault("bash_command", f"dvc repro --single-item {shlex.quote(stage)}")
        kwargs.setdefault("trigger_rule", "none_failed")  # an upstream stage that was skipped has its result too
        super().__init__(**kwargs)
        self.stage = stage
        self.command = command
        self.publish = list(publish)

    def execute(self, context: "Context") -> dict[str, Any]:
        """Look the stage up by its key; run it only if nothing is known of it."""
        from dvc_airflow.stage_cache import StageCache, open_repo

        started = time.monotonic()
        lock = merge_locks(result["lock"] for result in self.upstream_results(context))
        with self.workspace(lock) as workspace:
            with open_repo(workspace, self.credentials()) as repo:
                cache = StageCache(repo, self.stage)
                if cache.stage.cmd != self.command:
                    raise AirflowFailException(
                        f"stage {self.stage}: the values of this run would change its command in dvc.yaml, which is "
                        "refused. Let the command read the value from a params file instead of ${...}."
                    )
                inputs, entry = cache.inputs(), cache.find()
                lock_file = _lock_file(cache.stage.path, workspace)
                if entry is None:
                    cache.fetch_inputs()
            key = self.stage.rpartition(":")[2]
            history = History(self.cache_dir())
            last, maker = history.last(self.dag_id, self.stage), history.maker(entry) if entry else None
            outcome, reason = judge(last and last["entry"], entry, inputs, _outputs(lock), maker)
            self.log.info("Stage %s: %s (%s)", self.stage, outcome, reason)
            if entry is None:
                self.run_bash(context, workspace)
                entry = _read_entry(workspace, lock_file, key)
                if differing := cache.differs(entry):
                    raise AirflowException(
                        f"stage {self.stage} did not read what the stages before it made: {differing}"
                    )
            with open_repo(workspace) as repo:
                published = {path: _read_output(repo, entry, path) for path in self.publish}
        result = {
            "stage": self.stage,
            "outcome": outcome,
            "reason": reason,
            "seconds": round(time.monotonic() - started, 2),
            "executed_in": context["run_id"] if outcome == "executed" else maker and maker["run_id"],
            "lock": {lock_file: {key: entry}},
            "published": published,
        }
        history.record(self.dag_id, context["run_id"], self.stage, entry, executed=outcome == "executed")
        if outcome == "executed":
            return result
        context["ti"].xcom_push(key="return_value", value=result)  # a skipped task returns nothing by itself
        raise AirflowSkipException(f"stage {self.stage} is {outcome}: {reason}")


def _outputs(lock: Lock) -> frozenset[str]:
    return frozenset(out["path"] for stages in lock.values() for entry in stages.values() for out in entry["outs"])


def _lock_file(dvc_yaml: str, workspace: Workspace) -> str:
    return Path(dvc_yaml).with_name("dvc.lock").resolve().relative_to(workspace.path.resolve()).as_posix()


def _read_entry(workspace: Workspace, lock_file: str, key: str) -> dict[str, Any]:
    from ruamel.yaml import YAML

    document = YAML(typ="safe", pure=True).load((workspace.path / lock_file).read_text(encoding="utf-8"))
    return json.loads(json.dumps(document["stages"][key]))


def _read_output(repo: Any, entry: Mapping[str, Any], path: str) -> str:
    """The content of a small text output, from the cache."""
    for out in entry["outs"]:
        if out["path"] == path:
            content = Path(repo.cache.local.oid_to_path(out["md5"])).read_bytes()
            if len(content) > PUBLISHED_BYTES:
                raise AirflowFailException(
                    f"{path} is too large for an XCom ({len(content)} bytes): do not publish it."
                )
            return content.decode()
    raise AirflowFailException(f"{path} is no output of the stage: mend the list of published files.")


class DvcPushOperator(DvcOperator):
    """``dvc push`` of all that the stages of this run made, then the proof that the remote has it.

    Returns ``objects`` and ``bytes`` that the remote holds for this run, and ``remote_url``.
    """

    ui_color = "#d5ecf4"

    def __init__(self, **kwargs: Any) -> None:
        kwargs.setdefault("bash_command", "dvc push")
        kwargs.setdefault("trigger_rule", "none_failed")
        super().__init__(**kwargs)

    def execute(self, context: "Context") -> dict[str, Any]:
        """Push, prove, and push the run-cache entries, so that other machines can restore."""
        from dvc_airflow.stage_cache import missing_in_remote, open_repo, push_again, push_run_cache

        results = self.upstream_results(context)
        lock = merge_locks(result["lock"] for result in results)
        with self.workspace(lock) as workspace:
            self.run_bash(context, workspace)
            with open_repo(workspace, self.credentials()) as repo:
                missing, count, size = missing_in_remote(repo)
                if missing:
                    self.log.warning("The remote lacks %s after the push; pushing again", sorted(missing.values()))
                    push_again(repo, list(missing))
                    missing, count, size = missing_in_remote(repo)
                if missing:
                    raise AirflowException(
                        f"{self.remote_url} lacks {len(missing)} objects after dvc push: "
                        f"{', '.join(sorted(missing.values())[:10])}. Clear the stages that make them."
                    )
                push_run_cache(repo, [entry for stages in lock.values() for entry in stages.values()])
        self.log.info("%s objects (%s bytes) of this run are in %s", count, size, self.remote_url)
        return {"objects": count, "bytes": size, "remote_url": self.remote_url}
