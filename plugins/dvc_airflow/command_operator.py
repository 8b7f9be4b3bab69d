"""`DvcCommandOperator`: what the operators that run a command of DVC's share."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import BaseOperatorLink
from airflow.sdk.exceptions import AirflowException

from dvc_airflow.arguments import module_names, require_functions
from dvc_airflow.base import DvcOperator
from dvc_airflow.command import CommandRunner, Environment, base_environment
from dvc_airflow.errors import TaskError
from dvc_airflow.project_run import ProjectRun
from dvc_airflow.reproduce import Producer
from dvc_airflow.result import StageResult
from dvc_airflow.stage_run import StageRun
from dvc_airflow.variable_values import variable_values
from dvc_airflow.variables import Variables

if TYPE_CHECKING:
    from airflow.sdk import Context


class DvcCommandOperator(DvcOperator, BashOperator):
    """A bash command of DVC's in a workspace of its own.

    :param upstream_stages: ids of the tasks whose lock entries the workspace gets. (XCom)
    :param environment: what the command's process gets beside `base_environment`; called in the worker, so that no
        secret enters the serialised DAG.
    :param env: names of variables that the command's process gets from the worker, such as ``["REGION"]``, or by name
        where they come from, such as ``{"TOKEN": "variable:my_token"}``, see `dvc_airflow.variables.Variables`. A stage
        gets no others of the worker's. Values never enter the DAG.
    :param warm: names of modules, such as ``["pandas", "sklearn.linear_model"]``: the command's Python processes are
        forks of one that has imported them, and DVC, see `dvc_airflow.warm`. Empty: each imports for itself.
    :param extra_links: buttons on the task in the web UI.
    """

    #: the stage that the task runs, and what DVC works it out of; of a task that runs none, None
    stage: str | None = None
    definitions: tuple[str, ...] = ()

    def __init__(
        self,
        *,
        upstream_stages: Sequence[str] = (),
        env: Sequence[str] | Mapping[str, str | None] = (),
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
        self.variables = Variables.of(env)
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
        variables = variable_values(self.variables, self.remote_access().environment)
        return {**base_environment(), **variables, **task, **self.environment()}

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

    def stage_run(self, context: "Context", run: ProjectRun, runner: CommandRunner, *, force: bool = False) -> StageRun:
        """The task's stage in this run of the DAG."""
        raise NotImplementedError

    def upstream_tasks(self) -> "list[DvcCommandOperator]":
        """The tasks of the upstream stages."""
        dag = self.get_dag()
        tasks = [dag.get_task(task_id) for task_id in self.upstream_stages] if dag else []
        return [task for task in tasks if isinstance(task, DvcCommandOperator) and task.stage]

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
