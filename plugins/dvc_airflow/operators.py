"""The operators: one DVC stage, and the push of what the stages made. Airflow's side of `StageRun` and `PushRun`."""

import os
import shlex
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import BaseOperatorLink
from airflow.sdk.exceptions import AirflowException, AirflowSkipException

from dvc_airflow.arguments import module_names, require_functions, variable_names
from dvc_airflow.base import DvcOperator
from dvc_airflow.command import CommandRunner, Environment, base_environment
from dvc_airflow.dvc_config import has_default_remote, no_remote
from dvc_airflow.errors import TaskError
from dvc_airflow.lockfile import merge_locks
from dvc_airflow.project import DvcProjectError
from dvc_airflow.project_run import ProjectRun
from dvc_airflow.push_run import PushRun
from dvc_airflow.reproduce import Producer
from dvc_airflow.result import Outcome, StageResult
from dvc_airflow.stage_run import StageRun
from dvc_airflow.stage_settings import StageSettings

if TYPE_CHECKING:
    from airflow.sdk import Context

__all__ = ["DvcCommandOperator", "DvcPushOperator", "DvcStageOperator", "Environment"]


class DvcCommandOperator(DvcOperator, BashOperator):
    """A bash command of DVC's in a workspace of its own.

    :param upstream_stages: ids of the tasks whose lock entries the workspace gets. (XCom)
    :param environment: what the command's process gets beside `base_environment`; called in the worker, so that no
        secret enters the serialised DAG.
    :param env: names of variables that the command's process gets from the worker, such as ``["REGION"]``; a stage gets
        no others of the worker's. Values never enter the DAG.
    :param warm: names of modules, such as ``["pandas", "sklearn.linear_model"]``: the command's Python processes are
        forks of one that has imported them, and DVC, see `dvc_airflow.warm`. Empty: each imports for itself.
    :param extra_links: buttons on the task in the web UI.
    """

    def __init__(
        self,
        *,
        upstream_stages: Sequence[str] = (),
        env: Sequence[str] = (),
        environment: Environment = dict,
        warm: Sequence[str] = (),
        extra_links: Sequence[BaseOperatorLink] = (),
        **kwargs: Any,
    ) -> None:
        kwargs.setdefault("trigger_rule", "none_failed")  # an upstream stage that was skipped has its result too
        super().__init__(**kwargs)
        self.operator_extra_links = tuple(extra_links)
        self.upstream_stages = list(upstream_stages)
        require_functions(environment=environment)
        self.passed_on = variable_names(env)
        self.warm = module_names(warm)
        self.environment = environment
        self._runner: CommandRunner | None = None  # while the task is at work

    def work(self, context: "Context") -> dict[str, Any]:
        """See `DvcOperator.work`."""
        self._runner = CommandRunner(self.warm)
        try:
            return self.work_with(self._runner, context)
        finally:
            self._runner = None

    def work_with(self, runner: CommandRunner, context: "Context") -> dict[str, Any]:
        """What `execute` does.

        :param runner: runs the command; `on_kill` ends it.
        :raises TaskError: it cannot go on.
        """
        raise NotImplementedError

    def on_kill(self) -> None:
        """Airflow stops the task: end the command with all its processes, or whatever else is running."""
        if self._runner is not None and not self._runner.end():
            raise AirflowException(f"task {self.task_id} was stopped")

    def full_environment(self, context: "Context") -> dict[str, str]:
        """An explicit environment instead of the worker's own, which holds Airflow's secrets."""
        ti = context["ti"]
        # Under Airflow's own names, so that a stage can tell a tracker which task it is.
        task = {
            "AIRFLOW_CTX_DAG_ID": ti.dag_id,
            "AIRFLOW_CTX_DAG_RUN_ID": ti.run_id,
            "AIRFLOW_CTX_TASK_ID": ti.task_id,
            "AIRFLOW_CTX_TRY_NUMBER": str(ti.try_number),
        }
        passed_on = {name: os.environ[name] for name in self.passed_on if name in os.environ}
        return {**base_environment(), **passed_on, **task, **self.environment()}

    def upstream_results(self, context: "Context") -> list[StageResult]:
        """What the upstream stage tasks returned.

        :raises ResultError: one of them returned nothing, or not what it had returned any more.
        """
        return [self.result_of(task_id, context) for task_id in self.upstream_stages]

    def result_of(self, task_id: str, context: "Context") -> StageResult:
        """What a stage's task returned: of the same index, where the group of both is mapped.

        :raises ResultError: it returned nothing, or not what it had returned any more.
        """
        ti = context["ti"]
        return StageResult.from_xcom(ti.xcom_pull(task_ids=task_id, map_indexes=ti.map_index), task_id)

    def upstream_tasks(self) -> "list[DvcStageOperator]":
        """The tasks of the upstream stages."""
        dag = self.get_dag()
        tasks = [dag.get_task(task_id) for task_id in self.upstream_stages] if dag else []
        return [task for task in tasks if isinstance(task, DvcStageOperator)]

    def producer_of(self, stage: str, *, context: "Context", run: ProjectRun, runner: CommandRunner) -> Producer:
        """The task of an earlier stage, whose output is missing, and what executes that stage once more.

        :param run: of this task: it has the values of the run, which the other operator's templates would give.
        :raises TaskError: no task before this one runs the stage.
        """
        for task in self.upstream_tasks():
            if task.stage == stage:
                known = self.result_of(task.task_id, context)
                return Producer(task.task_id, partial(task.stage_run(context, run, runner).reproduce, known))
        raise TaskError(f"no upstream task runs stage {stage}. Clear all tasks of the run.")


class DvcStageOperator(DvcCommandOperator):
    """One stage of a DVC project: see `dvc_airflow.stage_run`.

    Returns a `StageResult`. A stage that need not run is *skipped*, with the same return value.

    :param stage: the stage's name, as ``dvc repro`` takes it.
    :param command: what the stage runs by the project's own files. A run whose values would make it run something else
        is refused.
    :param definitions: the project's files from which DVC works out the stages, see `dvc_airflow.project.Project`.
    :param sources: files and folders of the project that it depends on and that no stage makes.
    :param outputs: all that the project's stages make.
    :param frozen: its result is the one in the project's dvc.lock.
    :param publish: small text outputs whose content goes into the XCom, for tasks after the pipeline.
    :param force: run the stage even if its result is known, and say whether it reproduced. (templated: an XComArg)
    :param check_restored: called in the worker with the published outputs of an earlier result; returns why that may
        not be used any more, or None.
    """

    template_fields: Sequence[str] = (*DvcCommandOperator.template_fields, "force")

    def __init__(
        self,
        *,
        stage: str,
        command: str | list[str],
        definitions: Sequence[str] = (),
        sources: Sequence[str] = (),
        outputs: Sequence[str] = (),
        frozen: bool = False,
        publish: Sequence[str] = (),
        force: Any = False,
        check_restored: Callable[[Mapping[str, str]], str | None] | None = None,
        **kwargs: Any,
    ) -> None:
        kwargs.setdefault("bash_command", f"dvc repro --single-item {shlex.quote(stage)}")
        super().__init__(**kwargs)
        self.stage = stage
        self.command = command
        self.definitions, self.sources, self.outputs = tuple(definitions), tuple(sources), tuple(outputs)
        self.frozen = frozen
        self.publish = list(publish)
        self.force = force
        self.check_restored = check_restored

    def work_with(self, runner: CommandRunner, context: "Context") -> dict[str, Any]:
        """Look the stage up, or execute it."""
        result = self.stage_run(context, self.project_run(context), runner, force=bool(self.force)).run()
        if result.outcome is Outcome.EXECUTED:
            return result.to_xcom()
        context["ti"].xcom_push(key="return_value", value=result.to_xcom())  # a skipped task returns nothing by itself
        raise AirflowSkipException(f"stage {self.stage} is {result.outcome}: {result.reason}")

    def stage_run(self, context: "Context", run: ProjectRun, runner: CommandRunner, *, force: bool = False) -> StageRun:
        """The stage in this run of the DAG; also for a later task, which finds its outputs missing.

        :param run: of the task that is at work.
        """
        settings = StageSettings(
            name=self.stage,
            repro=str(self.bash_command),
            command=self.command,
            definitions=self.definitions,
            sources=self.sources,
            outputs=self.outputs,
            is_frozen=self.frozen,
            publish=tuple(self.publish),
            check_restored=self.check_restored,
            passed_on=self.passed_on,
            history=self.task_id if self._has_namesake() else None,
            environment=partial(self.full_environment, context),
        )
        return StageRun(
            run,
            run.as_packed(settings, [task.stage for task in self.upstream_tasks()]),
            merge_locks(result.lock for result in self.upstream_results(context)),
            force=force,
            producer_of=partial(self.producer_of, context=context, run=run, runner=runner),
            runner=runner,
        )

    def _has_namesake(self) -> bool:
        """Whether the DAG has another stage of this name, of another project."""
        dag = self.get_dag()
        tasks = dag.tasks if dag else []
        return any(
            isinstance(task, DvcStageOperator) and task.stage == self.stage and task.task_id != self.task_id
            for task in tasks
        )


class DvcPushOperator(DvcCommandOperator):
    """``dvc push`` of all that the stages of this run made, and the proof: see `dvc_airflow.push_run`.

    Returns a `PushResult`.
    """

    def __init__(self, **kwargs: Any) -> None:
        kwargs.setdefault("bash_command", "dvc push")
        super().__init__(**kwargs)
        # When the DAG is parsed, for the stages would run for nothing.
        if self.remote_url is None and not has_default_remote(self.project_dir):
            raise DvcProjectError(no_remote(self.project_dir))

    def work_with(self, runner: CommandRunner, context: "Context") -> dict[str, Any]:
        """Push, and prove."""
        run = self.project_run(context)
        push = PushRun(
            run,
            self.upstream_results(context),
            definitions=run.code.listed.definitions if run.code else self._definitions(),
            command=str(self.bash_command),
            environment=partial(self.full_environment, context),
            producer_of=partial(self.producer_of, context=context, run=run, runner=runner),
            runner=runner,
        )
        return push.run().to_xcom()

    def _definitions(self) -> set[str]:
        return {name for task in self.upstream_tasks() for name in task.definitions}
