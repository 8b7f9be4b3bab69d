"""A DVC project as tasks: what `DvcTaskGroup` and `DvcDag` have in common."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from airflow.sdk import TaskGroup

from dvc_airflow.arguments import require_stages
from dvc_airflow.command import Environment
from dvc_airflow.operators import DvcPushOperator, DvcStageOperator
from dvc_airflow.prepare import DvcPrepareOperator
from dvc_airflow.project import Project, StageSpec, default_graph_cache_dir, load_project
from dvc_airflow.result_field import ResultOf


@dataclass(frozen=True)
class ProjectArguments:
    """What a DAG file says of the project, see `dvc_airflow.task_group.DvcTaskGroup`."""

    project_dir: Path | str
    stage_environment: Mapping[str, Environment] = field(default_factory=dict)
    stage_options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    push: bool = False
    force: Any = False
    env: Sequence[str] = ()
    warm: Sequence[str] = ()
    files: Any = None
    code: Any = None
    remote_url: Any = None
    cache_dir: Path | str | Callable[[], Path | str | None] | None = None
    credentials: Callable[[], Mapping[str, Any]] = dict
    remote_options: Callable[[], Mapping[str, Any]] = dict
    graph_cache_dir: Path | None = None

    @property
    def of_all_tasks(self) -> dict[str, Any]:
        """The arguments of `DvcOperator`, but for ``files``."""
        return {
            "project_dir": Path(self.project_dir),
            "remote_url": self.remote_url,
            "cache_dir": self.cache_dir,
            "credentials": self.credentials,
            "remote_options": self.remote_options,
        }


def split_arguments(given: Mapping[str, Any]) -> tuple[ProjectArguments, dict[str, Any]]:
    """:return: what is said of the project, and the arguments that are Airflow's."""
    names = {one.name for one in fields(ProjectArguments)}
    own = {name: value for name, value in given.items() if name in names}
    return ProjectArguments(**own), {name: value for name, value in given.items() if name not in names}


class RenderedProject:
    """The tasks of a project, in a task group.

    :param group: where they belong.
    :raises DvcProjectError: the project cannot be read, or has no stage of a name given here.
    """

    def __init__(self, group: TaskGroup, arguments: ProjectArguments) -> None:
        self._group, self._arguments = group, arguments
        self.project = self._load()
        self._common = {**arguments.of_all_tasks, **self._prepared(), "warm": arguments.warm}
        #: by the stage's name, in an order in which they can run
        self.stage_tasks: dict[str, DvcStageOperator] = {}
        for stage in self.project.stages:
            self.stage_tasks[stage.name] = self._stage_task(stage)
        #: the push of what the stages made, if there is to be one
        self.push = self._push_task() if arguments.push else None

    def _load(self) -> Project:
        arguments = self._arguments
        project_dir = Path(arguments.project_dir)
        project = load_project(project_dir, arguments.graph_cache_dir or default_graph_cache_dir())
        require_stages(project, str(project_dir), arguments.stage_environment, arguments.stage_options)
        return project

    def _prepared(self) -> dict[str, Any]:
        """What all tasks of the run have in common: of an earlier task of the DAG, or of one made here."""
        arguments = self._arguments
        if arguments.code is not None:
            return {"files": arguments.files, "code": arguments.code}
        task = DvcPrepareOperator(
            task_id=self._free_id("prepare_run"),
            task_group=self._group,
            files=arguments.files,
            graph_cache_dir=arguments.graph_cache_dir,
            **arguments.of_all_tasks,
        )
        prepared = ResultOf(task.output)
        return {"files": prepared["files"], "code": prepared["code"]}

    def _stage_task(self, stage: StageSpec) -> DvcStageOperator:
        arguments = self._arguments
        upstream = [self.stage_tasks[name] for name in stage.upstream]
        options = {
            **self._common,
            "definitions": self.project.definitions,
            "outputs": self.project.outputs,
            "force": arguments.force,
            "env": arguments.env,
            "environment": arguments.stage_environment.get(stage.name, dict),
            **arguments.stage_options.get(stage.name, {}),
        }
        task = DvcStageOperator(
            task_id=stage.task_id,
            task_group=self._group,
            stage=stage.name,
            command=stage.command,
            frozen=stage.frozen,
            sources=stage.sources,
            upstream_stages=[other.task_id for other in upstream],
            doc=stage.description,
            **options,
        )
        if upstream:
            task.set_upstream(upstream)
        return task

    def _push_task(self) -> DvcPushOperator:
        task = DvcPushOperator(
            task_id=self._free_id("dvc_push"),
            task_group=self._group,
            upstream_stages=[stage.task_id for stage in self.stage_tasks.values()],
            **self._common,
        )
        task.set_upstream(list(self.stage_tasks.values()))
        return task

    def _free_id(self, task_id: str) -> str:
        """The id, or one like it where a stage has it."""
        taken = {stage.task_id for stage in self.project.stages}
        while task_id in taken:
            task_id += "_"
        return task_id
