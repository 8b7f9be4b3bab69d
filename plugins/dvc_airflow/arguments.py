"""Checks of what a DAG file gives to the task group and the operators."""

import difflib
import re
import textwrap
from collections.abc import Collection, Iterable, Sequence
from typing import Any

from dvc_airflow.project import DvcProjectError, Project

VARIABLE = re.compile(r"[A-Za-z_]\w*", re.ASCII)
MODULE = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*")


def variable_names(env: Sequence[str]) -> tuple[str, ...]:
    """Check what was given as ``env``.

    :raises ValueError: it is no list of names.
    """
    if not _are_names(env, VARIABLE):
        raise ValueError(
            'env: give the names of variables that the worker has, such as ["REGION"]. Values do not belong in a DAG.'
        )
    return tuple(env)


def module_names(warm: Sequence[str]) -> tuple[str, ...]:
    """Check what was given as ``warm``.

    :raises ValueError: it is no list of names of modules.
    """
    if not _are_names(warm, MODULE):
        raise ValueError('warm: give the names of modules, such as ["pandas", "sklearn.linear_model"].')
    return tuple(warm)


def _are_names(value: Any, pattern: re.Pattern[str]) -> bool:
    """Whether it is a sequence of texts of this form."""
    if isinstance(value, str) or not isinstance(value, Sequence):
        return False
    return all(isinstance(name, str) and pattern.fullmatch(name) for name in value)


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
