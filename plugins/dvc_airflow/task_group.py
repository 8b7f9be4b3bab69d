"""A DVC project as a task group."""

import sys
from collections.abc import Sequence
from typing import Any

from airflow.sdk import TaskGroup

from dvc_airflow.render import RenderedProject, load, split_arguments


class DvcTaskGroup(TaskGroup):
    """A task per stage of a DVC project, edges from dvc.yaml, and before them a task that prepares the run.

    :param group_id: of the task group.
    :param project_dir: root of the DVC project.
    :param push: whether the group ends with ``dvc push``, see `dvc_airflow.operators.DvcPushOperator`.
    :param emit_assets: whether the push emits Asset events, likewise.
    :param select, exclude: which stages become tasks, see `dvc_airflow.select`.
    :param values: values for some of the project's params, by name; XComArgs too.
    :param operator_args: further arguments of every stage's operator.
    :param stage_environment: per stage, what its process gets beside the base environment.
    :param stage_options: per stage, further arguments of its operator (``publish``, ``extra_links``, ...).
    :param env: names of variables that every stage gets from the worker, such as ``["REGION"]``.
    :param warm: names of modules, such as ``["pandas", "sklearn.linear_model"]``, that the stages find imported when
        their Python starts, see `dvc_airflow.warm`.
    :param on_restored: how the task of a stage that need not run ends: ``"skip"`` or ``"success"``.
    :param files, code, remote_url, remote_conn_id, force, cache_dir, credentials, remote_options: of every task, see
        `dvc_airflow.base.DvcOperator` and `dvc_airflow.operators.DvcStageOperator`.
    :param graph_cache_dir: where what DVC says of the project is kept between parses; default: below AIRFLOW_HOME.
    :raises DvcProjectError: the project cannot be read, or has no stage of a name given here; Airflow shows it as the
        DAG's import error.

    All other arguments are those of Airflow's TaskGroup.
    """

    def __init__(self, group_id: str = "pipeline", **kwargs: Any) -> None:
        arguments, others = split_arguments(kwargs)
        super().__init__(group_id, **others)
        arguments, project = load(arguments, self.dag, sys._getframe(1).f_code.co_filename)
        self.tooltip = self.tooltip or f"A DVC project, version {project.version}"
        self.rendered = RenderedProject(self, arguments, project, form=None)
        #: the code of the run, for a `DvcPushOperator` of your own
        self.code = self.rendered.code
        #: the tasks of the stages, by the stage's name
        self.stage_tasks = self.rendered.stage_tasks

    @property
    def stage_task_ids(self) -> Sequence[str]:
        """The ids of all stage tasks, in an order in which they can run."""
        return [task.task_id for task in self.stage_tasks.values()]
