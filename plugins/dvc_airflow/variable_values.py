"""The values of the variables that a stage's command gets. Read in the worker; they are in no file, DAG or log."""

import os
from collections.abc import Mapping
from typing import Any

from dvc_airflow.connections import get_connection
from dvc_airflow.errors import TaskError
from dvc_airflow.variables import FIELDS, HOW, SOURCE, Variables


def variable_values(variables: Variables, remote: Mapping[str, str]) -> dict[str, str]:
    """Those that there are. Called in the worker; holds secrets.

    :param remote: those of the remote's Connection: what is named and is among them is theirs, so that a key and its
        secret are of one account.
    :raises TaskError: a Connection or Variable is missing.
    """
    sources = variables.sources
    own = {name: os.environ[name] for name, source in sources.items() if source is None and name in os.environ}
    given = {name: _value(name, source) for name, source in sources.items() if source is not None}
    return {**own, **{name: remote[name] for name in sources if name in remote}, **given}


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
