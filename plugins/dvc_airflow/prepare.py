"""`DvcPrepareOperator`: what all tasks of a run have to have in common, settled by its first task."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from dvc_airflow.base import DvcOperator
from dvc_airflow.code_store import CodeStore
from dvc_airflow.project import default_graph_cache_dir
from dvc_airflow.result import PackedCode, PreparedRun

if TYPE_CHECKING:
    from airflow.sdk import Context


class DvcPrepareOperator(DvcOperator):
    """Settle what all tasks of the run have in common: its code is packed. Returns a `PreparedRun`.

    Whatever is cleared later, the run keeps its code. To give it the project as it is now, clear this task, with all
    that follow.

    :param graph_cache_dir: see `dvc_airflow.task_group.DvcTaskGroup`.
    """

    def __init__(self, *, graph_cache_dir: Path | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.graph_cache_dir = graph_cache_dir

    def work(self, context: "Context") -> dict[str, Any]:
        """See `DvcOperator.work`."""
        run = self.project_run(context)
        packed = CodeStore(run).pack(self.graph_cache_dir or default_graph_cache_dir())
        code = PackedCode(
            pack=packed.id,
            git_sha=packed.commit.sha,
            dirty=packed.commit.dirty,
            bundle_version=bundle_version(context),
        )
        self.log.info("Code of this run: pack %s, commit %s", code.pack[:12], code.git_sha)
        return PreparedRun(files=dict(run.files), code=code).to_xcom()


def bundle_version(context: "Context") -> str | None:
    """The version of the DAG's bundle, where that has versions, as a `GitDagBundle` has."""
    bundle = getattr(context["ti"], "bundle_instance", None)  # not one of the attributes that Airflow promises
    return None if bundle is None or bundle.version is None else str(bundle.version)
