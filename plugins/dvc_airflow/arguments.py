"""Checks of what a DAG file gives to the task group and the operators."""

import difflib
import re
import textwrap
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Any

from dvc_airflow.project import DvcProjectError, Project

MODULE = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*")


def module_names(warm: Sequence[str]) -> tuple[str, ...]:
    """Check what was given as ``warm``.

    :raises ValueError: it is no list of names of modules.
    """
    is_list = isinstance(warm, Sequence) and not isinstance(warm, str)
    if not is_list or not all(isinstance(name, str) and MODULE.fullmatch(name) for name in warm):
        raise ValueError('warm: give the names of modules, such as ["pandas", "sklearn.linear_model"].')
    return tuple(warm)


def one_of(name: str, value: Any, allowed: Sequence[Any]) -> Any:
    """Check that an argument has one of the values allowed.

    :raises ValueError: it has another one; with the nearest of those allowed.
    """
    if any(value is one or (isinstance(value, str) and value == one) for one in allowed):
        return value
    texts = [one for one in allowed if isinstance(one, str)]
    near = difflib.get_close_matches(str(value).lower(), texts, n=1, cutoff=0.5)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    raise ValueError(f"{name}={value!r}: give {' or '.join(map(repr, allowed))}.{hint}")


def require_functions(**arguments: Any) -> None:
    """Check that these arguments are functions.

    :raises TypeError: one is none. Its value is not shown: it may be a secret.
    """
    for name, function in arguments.items():
        if not callable(function):
            raise TypeError(f"{name}: give a function. It is called in the worker, not when the DAG is parsed.")


def project_path(project_dir: Path | str, dag_file: str | None) -> Path:
    """Where a project is: a relative path counts from the folder of the DAG's file, so a DAG bundle can hold both."""
    path = Path(project_dir).expanduser()
    return (Path(dag_file).parent / path).absolute() if dag_file else path


def require_stages(project: Project, where: str, *arguments: Collection[str] | None) -> None:
    """Check that a project has the stages that a DAG names.

    :param where: the project, for people.
    :raises DvcProjectError: it has not; with those that it has.
    """
    named: Iterable[str] = {name for argument in arguments for name in argument or ()}
    names = [stage.name for stage in project.stages]
    if unknown := sorted(set(named) - set(names)):
        shown = textwrap.shorten(", ".join(names), 500, placeholder=" ...")
        raise DvcProjectError(
            f"{where}: dvc.yaml has no stage {', '.join(unknown)}, but the DAG names it. The stages are {shown}."
        )
