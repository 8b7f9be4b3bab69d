"""The variables that a stage's command gets: from the worker, from an Airflow Connection, or from a Variable.

A DAG and a dvc.yaml name them. Their values are read in the worker, see `dvc_airflow.variable_values`.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

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


def _is_right(name: Any, source: Any) -> bool:
    if not isinstance(name, str) or not NAME.fullmatch(name):
        return False
    return source is None or (isinstance(source, str) and SOURCE.fullmatch(source) is not None)
