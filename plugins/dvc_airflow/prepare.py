"""`DvcPrepareOperator`: what all tasks of a run have to have in common, settled by its first task."""

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from dvc_airflow.base import DvcOperator
from dvc_airflow.errors import TaskError
from dvc_airflow.params_form import FORCE
from dvc_airflow.project import ProjectParam
from dvc_airflow.result import PreparedRun
from dvc_airflow.run_values import is_forced, values_of

if TYPE_CHECKING:
    from airflow.sdk import Context


class DvcPrepareOperator(DvcOperator):
    """Settle what all tasks of the run have in common. Returns a `PreparedRun`.

    A remote's Connection that is missing or does not fit fails this task, before any stage runs.

    :param project_params: the values of the project that a run may change, and those that it may not.
    :param values: what the DAG gives for some of them, by name. (templated, also what is in it)
    :param takes_conf: whether the run's conf, and so the trigger form, gives values too; they win.
    :param other_params: names of the DAG's own Params, which mean nothing here.
    """

    template_fields: Sequence[str] = (*DvcOperator.template_fields, "values")

    def __init__(
        self,
        *,
        project_params: Sequence[ProjectParam] = (),
        values: Any = None,
        takes_conf: bool = False,
        other_params: Collection[str] = (),
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.project_params = tuple(project_params)
        self.values = values
        self.takes_conf, self.other_params = takes_conf, frozenset(other_params)

    def work(self, context: "Context") -> dict[str, Any]:
        """See `DvcOperator.work`."""
        from dvc_airflow.dvc.values import replaced_values

        run, conf = self.project_run(context), self._conf(context)
        values = {**self._values(), **{name: value for name, value in conf.items() if name != FORCE}}
        where = "the run's conf" if conf else f"values of task {self.task_id}"
        texts = replaced_values(run.project_dir, values_of(values, self.project_params, where))
        for file, text in texts.items():
            self.log.info("%s has values of this run", file)
            if file in run.files and run.files[file] != text:
                raise TaskError(f"{file} is given as a whole (files=), so values= and the form cannot change it too.")
        return PreparedRun(files={**run.files, **texts}, force=is_forced(conf)).to_xcom()

    def _conf(self, context: "Context") -> dict[str, Any]:
        conf = context["dag_run"].conf if self.takes_conf else None
        return {name: value for name, value in (conf or {}).items() if name not in self.other_params}

    def _values(self) -> dict[str, Any]:
        if not isinstance(self.values, Mapping | None):
            raise TaskError(f'values: give values by the names of params, such as {{"lr": 0.1}}, not {self.values!r}.')
        return dict(self.values or {})
