"""The operators: one DVC stage, and the push of what the stages made. Airflow's side of `StageRun` and `PushRun`."""

import os
import shlex
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import BaseOperatorLink
from airflow.sdk.exceptions import AirflowException, AirflowSkipException

from dvc_airflow.arguments import module_names, one_of, require_functions, variable_names
from dvc_airflow.assets import BY_DATE, Emission, assets_of, checked
from dvc_airflow.base import DvcOperator
from dvc_airflow.command import CommandRunner, Environment, base_environment
from dvc_airflow.dvc_config import has_default_remote, no_remote, remote_address
from dvc_airflow.errors import TaskError
from dvc_airflow.lockfile import merge_locks
from dvc_airflow.project import Artifact, DvcProjectError, graph_cache_dir, load_project
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

    Returns a `StageResult`. A stage that need not run is *skipped*, or succeeds (``on_restored``), with the same return
    value.

    :param stage: the stage's name, as ``dvc repro`` takes it.
    :param command: what the stage runs by the project's own files. A run whose values would make it run something else
        is refused.
    :param definitions: the project's files from which DVC works out the stages, see `dvc_airflow.project.Project`.
    :param sources: files and folders of the project that it depends on and that no stage makes.
    :param outputs: all that the project's stages make.
    :param frozen: its result is the one in the project's dvc.lock.
    :param folder: where its command runs, relative to the project; None: the folder of its dvc.yaml.
    :param publish: small text outputs whose content goes into the XCom, for tasks after the pipeline.
    :param force: run the stage even if its result is known, and say whether it reproduced. (templated: an XComArg)
    :param check_restored: called in the worker with the published outputs of an earlier result; returns why that may
        not be used any more, or None.
    :param on_restored: how the task ends if the stage need not run: ``"skip"``, or ``"success"`` for downstream tasks
        with Airflow's default trigger rule, which are skipped after a skipped task.
    :raises ValueError: ``on_restored`` is neither.
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
        folder: str | None = None,
        publish: Sequence[str] = (),
        force: Any = False,
        check_restored: Callable[[Mapping[str, str]], str | None] | None = None,
        on_restored: str = "skip",
        **kwargs: Any,
    ) -> None:
        kwargs.setdefault("bash_command", f"dvc repro --single-item {shlex.quote(stage)}")
        super().__init__(**kwargs)
        self.stage = stage
        self.command = command
        self.definitions, self.sources, self.outputs = tuple(definitions), tuple(sources), tuple(outputs)
        self.frozen = frozen
        self.folder = folder
        self.publish = list(publish)
        self.force = force
        self.check_restored = check_restored
        self.on_restored = one_of("on_restored", on_restored, ("skip", "success"))
        self._ended: tuple[ProjectRun, StageResult] | None = None  # known when the stage has its result

    def work_with(self, runner: CommandRunner, context: "Context") -> dict[str, Any]:
        """Look the stage up, or execute it."""
        run = self.project_run(context)
        result = self.stage_run(context, run, runner, force=bool(self.force)).run()
        self._ended = run, result
        if result.outcome is Outcome.EXECUTED or self.on_restored == "success":
            return result.to_xcom()
        context["ti"].xcom_push(key="return_value", value=result.to_xcom())  # a skipped task returns nothing by itself
        raise AirflowSkipException(f"stage {self.stage} is {result.outcome}: {result.reason}")

    def get_openlineage_facets_on_complete(self, task_instance: Any) -> Any:
        """Called by Airflow's OpenLineage provider, if that is installed, when the task has ended in any way."""
        from dvc_airflow.openlineage import nothing_known, stage_lineage

        return stage_lineage(*self._ended, self.folder) if self._ended else nothing_known()

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
            settings,
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

    :param emit_assets: whether there is an Asset event for each output whose md5 is another than that of its last
        event, see `dvc_airflow.assets`; ``"by_date"``: with the run's logical date as partition key.
    :param artifacts: what the Assets are made of; None: all of the project's.
    :raises ValueError: ``emit_assets`` is none of these.
    :raises DvcProjectError: there is no remote to push to, or the project cannot be read.
    """

    def __init__(
        self, *, emit_assets: bool | str = False, artifacts: Sequence[Artifact] | None = None, **kwargs: Any
    ) -> None:
        kwargs.setdefault("bash_command", "dvc push")
        super().__init__(**kwargs)
        # When the DAG is parsed, for the stages would run for nothing.
        if self.remote_url is None and not has_default_remote(self.project_dir):
            raise DvcProjectError(no_remote(self.project_dir))
        self.emit_assets = checked(emit_assets)
        if emit_assets and artifacts is None:
            artifacts = load_project(self.project_dir, graph_cache_dir()).artifacts
        #: what it emits events of
        self.assets = assets_of(self, artifacts or ()) if emit_assets else {}
        self.add_outlets(self.assets)

    def work_with(self, runner: CommandRunner, context: "Context") -> dict[str, Any]:
        """Push, and prove."""
        run, stages = self.project_run(context), self.upstream_results(context)
        push = PushRun(
            run,
            stages,
            definitions={name for task in self.upstream_tasks() for name in task.definitions},
            command=str(self.bash_command),
            environment=partial(self.full_environment, context),
            producer_of=partial(self.producer_of, context=context, run=run, runner=runner),
            runner=runner,
        )
        result = push.run()
        if self.assets:
            self._drop_outlets_without_news(context, run, stages)
        return result.to_xcom()

    def _drop_outlets_without_news(self, context: "Context", run: ProjectRun, stages: Sequence[StageResult]) -> None:
        """Airflow emits an event for each outlet that the task has when it ends."""
        remote = remote_address(run.project_dir, run.remote_url, run.remote_options)
        emission = Emission(context, stages, remote, by_date=self.emit_assets == BY_DATE)
        others = [outlet for outlet in self.outlets if outlet not in self.assets]
        self.outlets = [*others, *emission.of(self.assets)]
