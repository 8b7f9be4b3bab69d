"""`DvcPrepareOperator`: what all tasks of a run have to have in common, settled by its first task."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dvc_airflow.base import DvcOperator
from dvc_airflow.code_store import CodeStore
from dvc_airflow.errors import TaskError
from dvc_airflow.param_types import FORCE
from dvc_airflow.project import ProjectParam, default_graph_cache_dir
from dvc_airflow.project_run import ProjectRun
from dvc_airflow.result import PackedCode, PreparedRun
from dvc_airflow.run_values import is_forced, merged, values_of

if TYPE_CHECKING:
    from airflow.sdk import Context


class DvcPrepareOperator(DvcOperator):
    """Settle what all tasks of the run have in common: its code is packed, its values are checked.

    Whatever is cleared later, the run keeps its code. To give it the project as it is now, clear this task, with all
    that follow. A remote's Connection that is missing or does not fit fails this task, before any stage runs. Returns a
    `PreparedRun`.

    With ``code`` nothing is packed: an earlier task of the run has done it.

    :param values: what the DAG gives for some of the project's params, by name. (templated, also what is in it)
    :param force: whether every stage is to run, whatever is known. (templated: an XComArg)
    :param takes_conf: whether the run's conf, and so the trigger form, gives values too; they win.
    :param other_params: names of the DAG's own Params, which mean nothing here.
    :param left_out: the stages without a task whose results the others need: by the project's dvc.lock.
    :param graph_cache_dir: see `dvc_airflow.task_group.DvcTaskGroup`.
    """

    template_fields: Sequence[str] = (*DvcOperator.template_fields, "values", "force")

    def __init__(
        self,
        *,
        values: Any = None,
        force: Any = False,
        takes_conf: bool = False,
        other_params: Collection[str] = (),
        left_out: Collection[str] = (),
        graph_cache_dir: Path | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.values, self.force = values, force
        self.takes_conf, self.other_params = takes_conf, frozenset(other_params)
        self.left_out, self.graph_cache_dir = frozenset(left_out), graph_cache_dir

    def work(self, context: "Context") -> dict[str, Any]:
        """See `DvcOperator.work`."""
        run, conf = self.project_run(context), self._conf(context)
        code = PackedCode(**self.code) if run.code else self._pack(run, context)
        texts = self._texts(run, code, conf)
        for file, text in texts.items():
            self.log.info("%s has values of this run", file)
            if run.files.get(file, text) != text:
                raise TaskError(f"{file} is given as a whole (files=), so values= and the form cannot change it too.")
        force = bool(self.force) or is_forced(conf)
        return PreparedRun(files={**run.files, **texts}, force=force, code=code).to_xcom()

    def _pack(self, run: ProjectRun, context: "Context") -> PackedCode:
        packed = CodeStore(run).pack(self.graph_cache_dir or default_graph_cache_dir(), self.left_out)
        self.log.info("Code of this run: pack %s, commit %s", packed.id[:12], packed.commit.sha)
        return PackedCode(
            pack=packed.id,
            git_sha=packed.commit.sha,
            dirty=packed.commit.dirty,
            bundle_version=bundle_version(context),
        )

    def _texts(self, run: ProjectRun, packed: PackedCode, conf: Mapping[str, Any]) -> dict[str, str]:
        """The files of the run's code that hold other values in this run, as they are then."""
        from dvc_airflow.dvc.values import texts_with

        by_run = {name: value for name, value in conf.items() if name != FORCE}
        if not by_run and not self.values:
            return {}
        code = run.code or CodeStore(run).load(packed.pack, packed.git_sha)
        params = [ProjectParam.of(document) for document in code.listed.params]
        values = merged(
            values_of(self._values(), params, f"values of task {self.task_id}", is_conf=False),
            values_of(by_run, params, "the run's conf"),
        )
        return texts_with(code, values)

    def _conf(self, context: "Context") -> dict[str, Any]:
        conf = context["dag_run"].conf if self.takes_conf else None
        return {name: value for name, value in (conf or {}).items() if name not in self.other_params}

    def _values(self) -> dict[str, Any]:
        if not isinstance(self.values, Mapping | None):
            raise TaskError(f'values: give values by the names of params, such as {{"lr": 0.1}}, not {self.values!r}.')
        return dict(self.values or {})


def bundle_version(context: "Context") -> str | None:
    """The version of the DAG's bundle, where that has versions, as a `GitDagBundle` has."""
    bundle = getattr(context["ti"], "bundle_instance", None)  # not one of the attributes that Airflow promises
    return None if bundle is None or bundle.version is None else str(bundle.version)
