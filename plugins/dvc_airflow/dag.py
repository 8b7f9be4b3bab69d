"""A DVC project as a whole DAG."""

import sys
from collections.abc import Mapping
from typing import Any

from airflow.sdk import DAG
from airflow.sdk.definitions.param import ParamsDict

from dvc_airflow.errors import TaskError
from dvc_airflow.params_form import params_form
from dvc_airflow.project import DvcProjectError, Project
from dvc_airflow.render import Form, ProjectArguments, RenderedProject, load, split_arguments
from dvc_airflow.run_values import values_of


class DvcDag(DAG):
    """A DVC project as a DAG: a task that prepares the run, a task per stage, and ``dvc push``.

    ::

        from dvc_airflow import DvcDag

        DvcDag("churn", project_dir="churn", schedule="@daily")

    All arguments are those of `dvc_airflow.task_group.DvcTaskGroup` and of Airflow's DAG. ``push`` is True by default,
    and ``values`` are the defaults of the form.

    :raises DvcProjectError: the project cannot be read; Airflow shows it as the DAG's import error.
    """

    def __init__(self, dag_id: str, **kwargs: Any) -> None:
        file = sys._getframe(1).f_code.co_filename
        arguments, others = split_arguments({"push": True, **kwargs})
        arguments, project = load(arguments, None, file)
        own_params = others.pop("params", None) or {}
        form = params_form(project.params, _defaults(arguments, project))
        if taken := sorted(form.keys() & own_params.keys()):
            raise DvcProjectError(
                f"params: the form of {dag_id} has {', '.join(taken)} already, from the project. Rename yours; "
                "values= gives another default."
            )
        super().__init__(dag_id, params=own_params, **others)
        self.fileloc = file  # Airflow takes the caller of DAG's own __init__ for it
        with self:  # Airflow finds a DAG that is not assigned to a name by this
            self.rendered = RenderedProject(self.task_group, arguments, project, Form(frozenset(own_params)))
        # Only now: Airflow copies into each task what the DAG has before it, and checks and stores all these copies.
        self.params = ParamsDict({**form, **own_params})
        self.stage_tasks = self.rendered.stage_tasks


def _defaults(arguments: ProjectArguments, project: Project) -> dict[str, Any]:
    """``values`` by the names of the params.

    :raises DvcProjectError: one is no value that a run may have.
    """
    if not isinstance(arguments.values, Mapping | None):
        raise DvcProjectError('values of a DvcDag: give them by the names of params, such as {"train.lr": 0.1}.')
    try:
        found = values_of(arguments.values or {}, project.params, "values of the DvcDag", is_conf=False)
    except TaskError as error:
        raise DvcProjectError(str(error)) from None
    return {param.name: value for param, value in found}
