"""The variables that a stage's command gets: from the worker, from an Airflow Connection, or from a Variable.

A DAG and a dvc.yaml name them. Their values are read in the worker, and are in no file, DAG or log.
"""

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from dvc_airflow.errors import TaskError

NAME = re.compile(r"[A-Za-z_]\w*", re.ASCII)
SOURCE = re.compile(r"(?:variable:(?P<variable>\S+))|(?:connection:(?P<connection>[^\s.]+)(?:\.(?P<field>\S+))?)")
FIELDS = ("host", "schema", "login", "password", "port")
HOW = (
    'give names of variables that the worker has, such as ["REGION"], or for each name where its value is: '
    '{"TOKEN": "variable:my_token", "DB_PASSWORD": "connection:my_db.password", "DB_URL": "connection:my_db"}. Values '
    "do not belong in a DAG or in dvc.yaml"
)


@dataclass(frozen=True)
class Variables:
    """Names of variables, and where their values are.

    :param sources: by name ``variable:KEY``, ``connection:ID`` (as an address), ``connection:ID.FIELD`` (host, schema,
        login, password, port, or a key of its extra); None: the worker's own variable of that name.
    """

    sources: Mapping[str, str | None]

    @classmethod
    def of(cls, env: Any) -> Self:
        """Check what was given as ``env``: a list of names, or where they come from by name.

        :raises ValueError: it is neither.
        """
        if isinstance(env, Variables):
            return cls(env.sources)
        if isinstance(env, Mapping):
            sources = dict(env)
        elif isinstance(env, Sequence) and not isinstance(env, str):
            sources = {name: None for name in env if isinstance(name, str)}
            if len(sources) != len({*map(str, env)}):
                raise ValueError(f"env: {HOW}.")
        else:
            raise ValueError(f"env: {HOW}.")
        if not all(_is_right(name, source) for name, source in sources.items()):
            raise ValueError(f"env: {HOW}.")
        return cls(sources)

    def values(self, remote: Mapping[str, str]) -> dict[str, str]:
        """The variables that there are. Called in the worker; holds secrets.

        :param remote: those of the remote's Connection: what is named here and is among them is theirs, so that a key
            and its secret are of one account.
        :raises TaskError: a Connection or Variable is missing.
        """
        own = {name: os.environ[name] for name, source in self.sources.items() if source is None and name in os.environ}
        given = {name: _value(name, source) for name, source in self.sources.items() if source is not None}
        return {**own, **{name: remote[name] for name in self.sources if name in remote}, **given}


def _is_right(name: Any, source: Any) -> bool:
    if not isinstance(name, str) or not NAME.fullmatch(name):
        return False
    return source is None or (isinstance(source, str) and SOURCE.fullmatch(source) is not None)


def _value(name: str, source: str) -> str:
    from airflow.sdk.log import mask_secret

    found = SOURCE.fullmatch(source)
    if found is None:  # checked by `of`
        raise TaskError(f"env: {name}: {HOW}.")
    value = _of_variable(name, found["variable"]) if found["variable"] else _of_connection(name, **found.groupdict())
    mask_secret(value)
    return value


def _of_variable(name: str, key: str) -> str:
    from airflow.sdk import Variable
    from airflow.sdk.exceptions import AirflowRuntimeError

    try:
        return str(Variable.get(key))
    except (AirflowRuntimeError, KeyError):
        raise TaskError(
            f"env: {name} comes from Airflow's Variable {key}, which does not exist. Add it in Airflow (Admin, "
            f"Variables), or run `airflow variables set {key} VALUE`."
        ) from None


def _of_connection(name: str, connection: str, field: str | None, **_: Any) -> str:
    from dvc_airflow.connections import get_connection

    found = get_connection(connection, f"env: {name}")
    if field is None:
        return str(found.get_uri())
    value = getattr(found, field) if field in FIELDS else found.extra_dejson.get(field)
    if value is None:
        raise TaskError(
            f"env: {name} comes from {field} of Airflow's Connection {connection}, which has none. Its fields are "
            f"{', '.join(FIELDS)} and the keys of its extra."
        )
    return str(value)
