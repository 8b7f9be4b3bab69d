"""A DVC project as tasks: what `DvcTaskGroup` and `DvcDag` have in common."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from airflow.sdk import DAG, TaskGroup, get_parsing_context
from airflow.sdk.definitions.taskgroup import MappedTaskGroup

from dvc_airflow.arguments import project_path, require_stages
from dvc_airflow.command import Environment
from dvc_airflow.operators import DvcPushOperator, DvcStageOperator
from dvc_airflow.prepare import DvcPrepareOperator
from dvc_airflow.project import Project, StageSpec, default_graph_cache_dir, load_project
from dvc_airflow.result_field import ResultOf
from dvc_airflow.select import selected
from dvc_airflow.stage_meta import meta_arguments
from dvc_airflow.variables import Variables

PREPARES = "Settles what all tasks of the run have in common: the code, the values of the run, access to the remote."


@dataclass(frozen=True)
class ProjectArguments:
    """What a DAG file says of the project, see `dvc_airflow.task_group.DvcTaskGroup`."""

    project_dir: Path | str
    select: str | Iterable[str] = ()
    exclude: str | Iterable[str] = ()
    values: Any = None
    operator_args: Mapping[str, Any] = field(default_factory=dict)
    stage_environment: Mapping[str, Environment] = field(default_factory=dict)
    stage_options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    push: bool = False
    emit_assets: bool | str = False
    force: Any = False
    on_restored: str = "skip"
    env: Sequence[str] | Mapping[str, str | None] = ()
    warm: Sequence[str] = ()
    files: Any = None
    code: Any = None
    remote_url: Any = None
    remote_conn_id: str | None = None
    cache_dir: Path | str | Callable[[], Path | str | None] | None = None
    credentials: Callable[[], Mapping[str, Any]] = dict
    remote_options: Callable[[], Mapping[str, Any]] = dict
    graph_cache_dir: Path | None = None

    @property
    def of_all_tasks(self) -> dict[str, Any]:
        """The arguments of `DvcOperator`, but for ``files``."""
        return {
            "project_dir": self.project_dir,
            "remote_url": self.remote_url,
            "remote_conn_id": self.remote_conn_id,
            "cache_dir": self.cache_dir,
            "credentials": self.credentials,
            "remote_options": self.remote_options,
        }


def split_arguments(given: Mapping[str, Any]) -> tuple[ProjectArguments, dict[str, Any]]:
    """:return: what is said of the project, and the arguments that are Airflow's."""
    names = {one.name for one in fields(ProjectArguments)}
    own = {name: value for name, value in given.items() if name in names}
    return ProjectArguments(**own), {name: value for name, value in given.items() if name not in names}


def load(arguments: ProjectArguments, dag: DAG | None, file: str) -> tuple[ProjectArguments, Project]:
    """Read the project. A relative ``project_dir`` counts from the folder of the DAG's file.

    :param file: of the DAG, if there is no DAG yet.
    :raises DvcProjectError: it cannot be read.
    """
    project_dir = project_path(arguments.project_dir, dag.fileloc if dag else file)
    project = load_project(project_dir, arguments.graph_cache_dir or default_graph_cache_dir())
    return replace(arguments, project_dir=project_dir), project


@dataclass(frozen=True)
class Form:
    """The trigger form of a DAG is that of a project; ``other_params`` are the names of the DAG's own Params."""

    other_params: frozenset[str]


class RenderedProject:
    """The tasks of a project, in a task group.

    :param group: where they belong.
    :param project: as `load` gave it.
    :param form: of a DAG whose runs' conf gives values for the project's params.
    :raises DvcProjectError: the project cannot be read, or has no stage of a name given here.
    """

    def __init__(self, group: TaskGroup, arguments: ProjectArguments, project: Project, form: Form | None) -> None:
        self._group, self._arguments, self.project, self._form = group, arguments, project, form
        self.selected = selected(project.stages, arguments.select, arguments.exclude)
        require_stages(project, str(arguments.project_dir), arguments.stage_environment, arguments.stage_options)
        self._common = {**arguments.of_all_tasks, **self._prepared(), "warm": arguments.warm}
        #: the code of the run
        self.code = self._common["code"]
        #: by the stage's name, in an order in which they can run
        self.stage_tasks: dict[str, DvcStageOperator] = {}
        for stage in self.selected:
            self.stage_tasks[stage.name] = self._stage_task(stage)
        #: the push of what the stages made, if there is to be one
        self.push = self._push_task() if arguments.push else None

    def _prepared(self) -> dict[str, Any]:
        """What all tasks of the run have in common: of an earlier task of the DAG, or of one made here."""
        arguments, mapped = self._arguments, self._mapped()
        code = arguments.code
        if code is not None and arguments.values is None and self._form is None:
            return {"files": arguments.files, "code": code, "force": arguments.force}
        if code is None and mapped is not None:  # all its instances have one code
            outside = mapped.parent_group or self._group.dag.task_group
            packing = self._prepare_task(f"prepare_{mapped.label}", outside)
            code = ResultOf(packing.output)["code"]
        prepared = ResultOf(self._prepare_task("prepare_run", self._group, code=code, **self._of_run()).output)
        return {name: prepared[name] for name in ("files", "code", "force")}

    def _of_run(self) -> dict[str, Any]:
        """What differs from run to run, and from instance to instance of a mapped group."""
        arguments = self._arguments
        return {
            "files": arguments.files,
            "values": arguments.values,
            "force": arguments.force,
            "takes_conf": self._form is not None,
            "other_params": self._form.other_params if self._form else (),
        }

    def _prepare_task(self, task_id: str, group: TaskGroup, **options: Any) -> DvcPrepareOperator:
        arguments = self._arguments
        chosen = {stage.name for stage in self.selected}
        return DvcPrepareOperator(
            task_id=self._free_id(task_id),
            task_group=group,
            doc_md=f"{PREPARES}\n\nStages of the project: version {self.project.version}",
            left_out=sorted({name for stage in self.selected for name in stage.upstream} - chosen),
            graph_cache_dir=arguments.graph_cache_dir,
            **arguments.of_all_tasks,
            **options,
        )

    def _mapped(self) -> TaskGroup | None:
        """The mapped group that the tasks are in, if there is one."""
        group: TaskGroup | None = self._group
        while group is not None and not isinstance(group, MappedTaskGroup):
            group = group.parent_group
        return group

    def _stage_task(self, stage: StageSpec) -> DvcStageOperator:
        arguments = self._arguments
        upstream = [self.stage_tasks[name] for name in stage.upstream if name in self.stage_tasks]
        options = {
            "env": arguments.env,
            **self._common,
            "definitions": self.project.definitions,
            "outputs": self.project.outputs,
            "on_restored": arguments.on_restored,
            "environment": arguments.stage_environment.get(stage.name, dict),
            **self._settings(stage),
        }
        task = DvcStageOperator(
            task_id=stage.task_id,
            task_group=self._group,
            stage=stage.name,
            command=stage.command,
            frozen=stage.frozen,
            folder=stage.folder,
            sources=stage.sources,
            upstream_stages=[other.task_id for other in upstream],
            left_out=[name for name in stage.upstream if name not in self.stage_tasks],
            doc=stage.description,
            **options,
        )
        if upstream:
            task.set_upstream(upstream)
        return task

    def _settings(self, stage: StageSpec) -> dict[str, Any]:
        """The arguments of one stage's operator: of dvc.yaml, which those in Python win over."""
        # A task that runs has its pod already; Kubernetes' client takes a second to import.
        arguments, meta = self._arguments, meta_arguments(stage, with_pod=not get_parsing_context().task_id)
        own = arguments.stage_options.get(stage.name, {})
        settings = {**meta, **arguments.operator_args, **own}
        if "env" in meta and "env" not in own:  # what all stages get, and this one
            common = Variables.of(arguments.operator_args.get("env", arguments.env))
            settings["env"] = {**common.sources, **Variables.of(meta["env"]).sources}
        return settings

    def _push_task(self) -> DvcPushOperator:
        task = DvcPushOperator(
            task_id=self._free_id("dvc_push"),
            task_group=self._group,
            upstream_stages=[stage.task_id for stage in self.stage_tasks.values()],
            emit_assets=self._arguments.emit_assets,
            artifacts=[artifact for artifact in self.project.artifacts if artifact.stage in self.stage_tasks],
            **{name: value for name, value in self._common.items() if name != "force"},
        )
        task.set_upstream(list(self.stage_tasks.values()))
        return task

    def _free_id(self, task_id: str) -> str:
        """The id, or one like it where a stage has it."""
        taken = {stage.task_id for stage in self.project.stages}
        while task_id in taken:
            task_id += "_"
        return task_id
