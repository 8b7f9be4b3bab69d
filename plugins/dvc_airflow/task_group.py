"""A DVC project as a task group."""

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from airflow.sdk import TaskGroup

from dvc_airflow.arguments import require_stages
from dvc_airflow.operators import DvcStageOperator, Environment
from dvc_airflow.project import StageSpec, load_project


class DvcTaskGroup(TaskGroup):
    """One `DvcStageOperator` per stage of the project; edges from dvc.yaml.

    :param project_dir: root of the DVC project.
    :param stage_environment: per stage, what its process gets beside the base environment.
    :param stage_options: per stage, further arguments of its operator (``publish``, ``extra_links``, ...).
    :param env: names of variables that every stage gets from the worker, such as ``["REGION"]``.
    :param warm: names of modules, such as ``["pandas", "sklearn.linear_model"]``, that the stages find imported when
        their Python starts, see `dvc_airflow.warm`.
    :param files, remote_url, force, cache_dir, credentials, remote_options: of every stage's operator, see
        `DvcOperator`.
    :param graph_cache_dir: where what DVC says of the project is kept between parses; default: below AIRFLOW_HOME.
    :raises DvcProjectError: the project cannot be read, or has no stage of a name given here; Airflow shows it as the
        DAG's import error.
    """

    def __init__(
        self,
        group_id: str = "pipeline",
        *,
        project_dir: Path | str,
        stage_environment: Mapping[str, Environment] | None = None,
        stage_options: Mapping[str, Mapping[str, Any]] | None = None,
        files: Any = None,
        remote_url: Any = None,
        force: Any = False,
        env: Sequence[str] = (),
        warm: Sequence[str] = (),
        cache_dir: Callable[[], Path | str | None] = lambda: None,
        credentials: Callable[[], Mapping[str, Any]] = dict,
        remote_options: Callable[[], Mapping[str, Any]] = dict,
        graph_cache_dir: Path | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(group_id, **kwargs)
        project_dir = Path(project_dir)
        project = load_project(project_dir, graph_cache_dir or _graph_cache_dir())
        require_stages(project, str(project_dir), stage_environment, stage_options)
        common = {
            "project_dir": project_dir,
            "definitions": project.definitions,
            "outputs": project.outputs,
            "files": files,
            "remote_url": remote_url,
            "force": force,
            "env": env,
            "warm": warm,
            "cache_dir": cache_dir,
            "credentials": credentials,
            "remote_options": remote_options,
        }
        self.stage_tasks: dict[str, DvcStageOperator] = {}
        for stage in project.stages:
            environment = (stage_environment or {}).get(stage.name, dict)
            own = {"environment": environment, **(stage_options or {}).get(stage.name, {})}
            self.stage_tasks[stage.name] = self._task(stage, {**common, **own})

    def _task(self, stage: StageSpec, options: Mapping[str, Any]) -> DvcStageOperator:
        upstream = [self.stage_tasks[name] for name in stage.upstream]
        task = DvcStageOperator(
            task_id=stage.task_id,
            task_group=self,
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

    @property
    def stage_task_ids(self) -> Sequence[str]:
        """The ids of all stage tasks, in an order in which they can run."""
        return [task.task_id for task in self.stage_tasks.values()]


def _graph_cache_dir() -> Path:
    home = os.environ.get("AIRFLOW_HOME", "~/airflow")
    return Path(home).expanduser() / "dvc_airflow" / "graphs"
