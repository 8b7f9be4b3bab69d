"""The operators: one DVC stage, and the push of what the stages made. Airflow's side of `StageRun` and `PushRun`."""

import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from airflow.sdk.exceptions import AirflowSkipException

from dvc_airflow.arguments import one_of
from dvc_airflow.assets import BY_DATE, Emission, assets_of, checked
from dvc_airflow.command import CommandRunner, Environment
from dvc_airflow.command_operator import DvcCommandOperator
from dvc_airflow.connections import worker_environment
from dvc_airflow.dvc_config import lacks_remote, remote_address
from dvc_airflow.errors import TaskError
from dvc_airflow.lockfile import merge_locks
from dvc_airflow.project import Artifact, DvcProjectError, default_graph_cache_dir, load_project
from dvc_airflow.project_run import ProjectRun
from dvc_airflow.push_run import PushRun
from dvc_airflow.reproduce import Producer, left_out_lacks
from dvc_airflow.result import Outcome, StageResult
from dvc_airflow.stage_run import StageRun
from dvc_airflow.stage_settings import StageSettings

if TYPE_CHECKING:
    from airflow.sdk import Context

__all__ = ["DvcCommandOperator", "DvcPushOperator", "DvcStageOperator", "Environment"]


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
    :param left_out: the stages before it that have no task: their results are those in the project's dvc.lock.
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
        left_out: Sequence[str] = (),
        publish: Sequence[str] = (),
        force: Any = False,
        check_restored: Callable[[Mapping[str, str]], str | None] | None = None,
        on_restored: str = "skip",
        **kwargs: Any,
    ) -> None:
        kwargs.setdefault("bash_command", f"dvc repro --single-item {shlex.quote(stage)}")
        super().__init__(**kwargs)
        self.stage: str = stage
        self.command = command
        self.definitions, self.sources, self.outputs = tuple(definitions), tuple(sources), tuple(outputs)
        self.frozen = frozen
        self.folder = folder
        self.left_out = tuple(left_out)
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
            passed_on=tuple(self.variables.sources),
            history=self._history(context),
            environment=partial(self.full_environment, context),
        )
        return StageRun(
            run,
            run.as_packed(settings, [*(str(task.stage) for task in self.upstream_tasks()), *self.left_out]),
            merge_locks(
                [
                    *(result.lock for result in self.upstream_results(context)),
                    *(run.locked_result(name, self.stage) for name in self.left_out),
                ]
            ),
            force=force,
            producer_of=partial(self.producer_of, context=context, run=run, runner=runner),
            runner=runner,
        )

    def producer_of(self, stage: str, *, context: "Context", run: ProjectRun, runner: CommandRunner) -> Producer:
        """See `DvcCommandOperator.producer_of`. A stage that has no task is not executed either."""
        if stage in self.left_out:
            raise left_out_lacks(stage, self.stage)
        return super().producer_of(stage, context=context, run=run, runner=runner)

    def _history(self, context: "Context") -> str | None:
        """Under which name the history of the DAG knows the stage; None: its own."""
        name = self.task_id if self._has_namesake() else self.stage
        index = context["ti"].map_index
        name = f"{name}[{index}]" if index is not None and index >= 0 else name
        return None if name == self.stage else name

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
        if self.remote_url is None and (reason := lacks_remote(self.project_dir)):
            raise DvcProjectError(reason)
        self.emit_assets = checked(emit_assets)
        if emit_assets and artifacts is None:
            artifacts = load_project(self.project_dir, default_graph_cache_dir()).artifacts
        #: what it emits events of
        self.assets = assets_of(self, artifacts or ()) if emit_assets else {}
        self.add_outlets(self.assets)

    def full_environment(self, context: "Context") -> dict[str, str]:
        """See `DvcCommandOperator.full_environment`; and what reaches the remote."""
        access = self.remote_access()
        # `dvc push` runs nothing of the project, so it may have what the worker itself reaches the remote by.
        is_own = self.environment is dict and not access.has_keys
        own = worker_environment() if is_own else {}
        return {**own, **access.environment, **super().full_environment(context)}

    def work_with(self, runner: CommandRunner, context: "Context") -> dict[str, Any]:
        """Push, and prove."""
        self._require_same_group()
        run, stages = self.project_run(context), self.upstream_results(context)
        if (index := context["ti"].map_index) is not None and index >= 0:
            run = replace(run, run_id=f"{run.run_id}[{index}]")
        push = PushRun(
            run,
            stages,
            definitions=run.code.listed.definitions if run.code else self._definitions(),
            command=str(self.bash_command),
            environment=partial(self.full_environment, context),
            producer_of=partial(self.producer_of, context=context, run=run, runner=runner),
            runner=runner,
        )
        result = push.run()
        if self.assets:
            self._drop_outlets_without_news(context, run, stages)
        return result.to_xcom()

    def _definitions(self) -> set[str]:
        return {name for task in self.upstream_tasks() for name in task.definitions}

    def _drop_outlets_without_news(self, context: "Context", run: ProjectRun, stages: Sequence[StageResult]) -> None:
        """Airflow emits an event for each outlet that the task has when it ends."""
        remote = remote_address(run.project_dir, run.remote_url, run.remote_options)
        emission = Emission(context, stages, remote, by_date=self.emit_assets == BY_DATE)
        others = [outlet for outlet in self.outlets if outlet not in self.assets]
        self.outlets = [*others, *emission.of(self.assets)]

    def _require_same_group(self) -> None:
        """:raises TaskError: the stages are in a mapped group, so each has a result per index, and this task is not."""
        mapped = self.get_closest_mapped_task_group()
        for task in self.upstream_tasks():
            group = task.get_closest_mapped_task_group()
            if group is not mapped:
                raise TaskError(
                    f"{task.task_id} is in a mapped group, and this task is not in it: give that DvcTaskGroup "
                    "push=True, or make the DvcPushOperator in the same mapped group."
                )
