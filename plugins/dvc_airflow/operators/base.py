"""`DvcOperator`: a bash command of DVC's in a workspace of its own, and what becomes of its errors."""

import copy
import gc
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import BaseOperatorLink
from airflow.sdk.exceptions import AirflowException, AirflowFailException

from dvc_airflow.environment import base_environment
from dvc_airflow.history import digest
from dvc_airflow.lock import Lock
from dvc_airflow.objects import LostError, Object
from dvc_airflow.process_group import end_group
from dvc_airflow.remote import REFUSED, RemoteError, RemoteRefusedError
from dvc_airflow.workspace import Workspace, WorkspaceError

if TYPE_CHECKING:
    from airflow.sdk import Context

OUTPUT_FILE = ".dvc/tmp/output.log"
LAST_LINES = 20
# sysexits.h: EX_DATAERR, EX_NOPERM, EX_CONFIG. The same command would end the same way again.
FINAL_EXIT_CODES = frozenset({65, 77, 78})
# Where DVC's errors come from that say: a dvc.yaml, a params file or a lock is wrong.
FINAL_DVC_ERRORS = ("dvc.parsing", "dvc.utils.strictyaml", "dvc.utils.serialize", "dvc.dependency.param")

Environment = Callable[[], Mapping[str, str]]


class DvcOperator(BashOperator):
    """A bash command of DVC's in a workspace of its own.

    :param project_dir: root of the DVC project.
    :param upstream_stages: ids of the tasks whose lock entries the workspace gets. (XCom)
    :param files: texts that take the place of the project's files in the workspace. (templated: an XComArg)
    :param remote_url: the DVC remote; None: the one of the project's .dvc/config. (templated: an XComArg)
    :param cache_dir: the DVC cache that tasks share, called in the worker. Where it gives None, tasks share none: each
        has an empty one of its own, and what it makes goes to the remote at once.
    :param environment: what the command's process gets beside `base_environment`; called in the worker, so that no
        secret enters the serialised DAG.
    :param credentials: options of the DVC remote, in memory only; called in the worker.
    :param remote_options: further options of the DVC remote, without secrets, for DVC's own processes too: they are
        written into the workspace and win over those of the project's .dvc/config. Called in the worker. An S3 remote
        for which neither names ``connect_timeout`` or ``read_timeout`` gets those of `S3_TIMEOUTS`.
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
        remote_options: Callable[[], Mapping[str, Any]] = dict,
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
        self.remote_options = remote_options
        self._at_work = False
        self._shared_cache: Path | None = None

    def execute(self, context: "Context") -> dict[str, Any]:
        """Do the work of the task; what goes wrong is told in a sentence.

        :raises AirflowFailException: trying again would not help.
        :raises AirflowException: it may pass.
        """
        self._at_work = True
        self._shared_cache = self.cache_dir()
        # What importing DVC and s3fs allocates would have Python look through all of Airflow's objects again and again,
        # which takes half a second each time.
        gc.freeze()
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
            gc.unfreeze()
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
            self.project_dir,
            files=self.files,
            lock=lock,
            cache_dir=self._shared_cache,
            remote_url=self.remote_url,
            remote_options=self.remote_options(),
        )

    def run_bash(self, context: "Context", workspace: Workspace, options: str = "") -> None:
        """Run `bash_command` in the workspace.

        :param options: of the command, to put after it.
        :raises AirflowException: it failed; the message ends with the last lines that it printed.
        """
        self.cwd = str(workspace.path)
        workspace.is_outdated = True
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
        made_again: dict[str, str] = {}
        while True:
            try:
                return do()
            except LostError as error:
                if error.maker is None or error.maker in made_again:
                    remedy = (
                        f"Stage {error.maker} ran again and came to something else. Clear task "
                        f"{made_again[error.maker]} and all that follow it."
                        if error.maker
                        else "No stage makes it: run `dvc push` in a checkout that has it."
                    )
                    raise AirflowFailException(f"task {self.task_id}: {error}. {remedy}") from None
                self.log.warning("%s. Stage %s, which makes it, runs again.", error, error.maker)
                made_again[error.maker] = self._make_again(context, error.maker, error.objects)

    def _make_again(self, context: "Context", stage: str, lost: Sequence[Object]) -> str:
        """:return: the id of the task whose stage ran again."""
        from dvc_airflow.operators.stage import DvcStageOperator

        dag = self.get_dag()
        tasks = [dag.get_task(task_id) for task_id in self.upstream_stages] if dag else []
        makers = [task for task in tasks if isinstance(task, DvcStageOperator) and task.stage == stage]
        if not makers:
            raise AirflowFailException(f"task {self.task_id}: no task before it runs stage {stage}. Clear all of them.")
        maker = copy.copy(makers[0])
        maker.files, maker.remote_url = self.files, self.remote_url
        maker.__dict__["subprocess_hook"] = self.subprocess_hook  # so that on_kill ends it
        maker.make_again(context, context["ti"].xcom_pull(task_ids=maker.task_id)["lock"], lost)
        return maker.task_id


def failure(what: str, exit_code: int, output: str) -> AirflowException:
    """The exception for a failed command; one that Airflow does not retry if trying again cannot help."""
    lines = output.strip().splitlines()[-LAST_LINES:]
    codes = [int(code) for code in re.findall(r"failed to run: .*, exited with (\d+)", output)]
    # What a stage prints of refusals is its own affair; what DVC prints is about the remote.
    refused = not codes and REFUSED.search("\n".join(lines))
    final = refused or (codes or [exit_code])[-1] in FINAL_EXIT_CODES
    kind = AirflowFailException if final else AirflowException
    return kind(f"{what} failed with exit code {exit_code}. It printed last:\n" + "\n".join(lines))
