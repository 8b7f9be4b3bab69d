"""Airflow Connections as DVC's credentials: what a remote's client gets in memory, and a command by its environment."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from dvc_airflow.errors import TaskError

if TYPE_CHECKING:
    from airflow.sdk import Connection


@dataclass(frozen=True)
class RemoteAccess:
    """How a remote is reached. Holds secrets: kept in memory, never written.

    ``options`` are those of a DVC remote; ``environment`` are the variables by which the tools of that store, DVC's
    own commands included, find the same. ``config`` are options without secrets, for DVC's commands too, where the
    project's own would win over such variables; None: the project's option is dropped.
    """

    options: Mapping[str, Any] = field(default_factory=dict)
    config: Mapping[str, Any] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def has_keys(self) -> bool:
        """Whether it says who asks. Else the store's tools find a role of the worker's, by variables of its own."""
        return any(name in self.options for name in (*SECRET_OPTIONS, "profile", "credentialpath"))


def get_connection(conn_id: str, asked_by: str) -> "Connection":
    """An Airflow Connection, from wherever Airflow keeps them. Called in the worker.

    :param asked_by: the argument that names it, for people.
    :raises TaskError: there is none.
    """
    from airflow.sdk import Connection
    from airflow.sdk.exceptions import AirflowNotFoundException, AirflowRuntimeError

    try:
        found: Connection = Connection.get(conn_id)
        return found
    except (AirflowNotFoundException, AirflowRuntimeError) as error:
        raise TaskError(
            f"{asked_by}: Airflow has no Connection {conn_id} ({type(error).__name__}). Add it in Airflow (Admin, "
            f"Connections), in a secrets backend, or as the variable AIRFLOW_CONN_{conn_id.upper()}."
        ) from None


def remote_access(conn_id: str, url: str) -> RemoteAccess:
    """What a Connection says of how to reach a remote. Called in the worker.

    :param url: of the remote: which types of Connection fit depends on it.
    :raises TaskError: the Connection does not exist, its type does not fit, or its fields cannot be used.
    """
    if _scheme(url) not in TYPES:
        where = url or "of the project, which its .dvc/config does not name,"
        raise TaskError(
            f"remote_conn_id={conn_id}: the remote {where} needs no Connection, or is of a kind that takes none. "
            f"Remove remote_conn_id; it is for {', '.join(f'{one}://' for one in TYPES)}."
        )
    return access_by(get_connection(conn_id, "remote_conn_id"), url)


def access_by(connection: "Connection", url: str) -> RemoteAccess:
    """What a Connection says of how to reach a store.

    :param url: of one of `TYPES`.
    :raises TaskError: its type does not fit, or it says too little.
    """
    types = TYPES[_scheme(url)]
    read = types.get(str(connection.conn_type))
    if read is None:
        raise TaskError(
            f"the Connection {connection.conn_id} is of type {connection.conn_type}, but {url} needs one of type "
            f"{' or '.join(types)}. Change its type in Airflow (Admin, Connections), or name another one."
        )
    return _masked(read(connection))


def _scheme(url: str) -> str:
    return url.partition("://")[0] if "://" in url else ""


def worker_environment() -> dict[str, str]:
    """The variables by which the worker itself reaches stores: keys, roles, addresses. Holds secrets."""
    return {name: value for name, value in os.environ.items() if name.startswith(STORE_VARIABLES)}


def _masked(access: RemoteAccess) -> RemoteAccess:
    from airflow.sdk.log import mask_secret

    for name, value in access.options.items():
        if name in SECRET_OPTIONS and isinstance(value, str):
            mask_secret(value)
    return access


STORE_VARIABLES = ("AWS_", "AZURE_", "GOOGLE_")
#: Options of DVC remotes that hold secrets.
SECRET_OPTIONS = frozenset(
    {"secret_access_key", "session_token", "account_key", "sas_token", "connection_string", "client_secret", "password"}
)


def _aws(connection: "Connection") -> RemoteAccess:
    """S3, as the Amazon provider reads a Connection of type ``aws``."""
    extra = connection.extra_dejson
    values = {
        "access_key_id": ("AWS_ACCESS_KEY_ID", connection.login or extra.get("aws_access_key_id")),
        "secret_access_key": ("AWS_SECRET_ACCESS_KEY", connection.password or extra.get("aws_secret_access_key")),
        "session_token": ("AWS_SESSION_TOKEN", extra.get("aws_session_token")),
        "region": ("AWS_DEFAULT_REGION", extra.get("region_name")),
        "endpointurl": ("AWS_ENDPOINT_URL", _endpoint(extra)),
        "profile": ("AWS_PROFILE", extra.get("profile_name")),
    }
    if extra.get("role_arn"):
        values |= _assumed_role(connection.conn_id)
    access = _access(values)
    config = {name: access.options[name] for name in ("endpointurl", "region") if name in access.options}
    # A profile of the project's would win over the keys.
    dropped = dict.fromkeys(("profile", "credentialpath", "configpath")) if access.has_keys else {}
    return replace(access, config={**dropped, **config})


def _endpoint(extra: Mapping[str, Any]) -> str | None:
    """The address of an S3 store, where the Amazon provider looks for it."""
    service = extra.get("service_config", {})
    own = service.get("s3", {}) if isinstance(service, Mapping) else {}
    return own.get("endpoint_url") or extra.get("endpoint_url") or extra.get("host")


def _assumed_role(conn_id: str) -> dict[str, tuple[str, Any]]:
    """The keys of the role that a Connection names, for as long as AWS gives them."""
    try:
        from airflow.providers.amazon.aws.hooks.base_aws import AwsBaseHook
    except ImportError:
        raise TaskError(
            f"the Connection {conn_id} assumes a role (role_arn), for which the Amazon provider is "
            "needed: pip install apache-airflow-providers-amazon."
        ) from None
    try:
        keys = AwsBaseHook(aws_conn_id=conn_id, client_type="s3").get_credentials()
    except Exception as error:  # noqa: BLE001 - botocore's, and the provider's own; of many kinds
        raise TaskError(f"the Connection {conn_id} cannot assume its role (role_arn): {error}. Check both.") from None
    return {
        "access_key_id": ("AWS_ACCESS_KEY_ID", keys.access_key),
        "secret_access_key": ("AWS_SECRET_ACCESS_KEY", keys.secret_key),
        "session_token": ("AWS_SESSION_TOKEN", keys.token),
    }


def _google(connection: "Connection") -> RemoteAccess:
    extra = connection.extra_dejson
    _refuse_key_inside(connection, "keyfile_dict", "key_path")
    return _access(
        {
            "credentialpath": ("GOOGLE_APPLICATION_CREDENTIALS", extra.get("key_path")),
            "projectname": ("GOOGLE_CLOUD_PROJECT", extra.get("project")),
        }
    )


def _azure(connection: "Connection") -> RemoteAccess:
    extra = connection.extra_dejson
    has_tenant = bool(extra.get("tenant_id"))
    login, password = connection.login, connection.password
    return _access(
        {
            "connection_string": ("AZURE_STORAGE_CONNECTION_STRING", extra.get("connection_string")),
            "account_name": ("AZURE_STORAGE_ACCOUNT", extra.get("account_name") or (None if has_tenant else login)),
            "account_key": ("AZURE_STORAGE_KEY", extra.get("account_key") or (None if has_tenant else password)),
            "sas_token": ("AZURE_STORAGE_SAS_TOKEN", extra.get("sas_token")),
            "tenant_id": ("AZURE_TENANT_ID", extra.get("tenant_id")),
            "client_id": ("AZURE_CLIENT_ID", login if has_tenant else None),
            "client_secret": ("AZURE_CLIENT_SECRET", password if has_tenant else None),
        }
    )


def _ssh(connection: "Connection") -> RemoteAccess:
    extra = connection.extra_dejson
    _refuse_key_inside(connection, "private_key", "key_file")
    if connection.password:
        raise TaskError(
            f"the Connection {connection.conn_id} has a password, which cannot be handed to the "
            "command `dvc push` in secret. Use a key: its path, on each worker, is key_file in the Connection's extra."
        )
    options = {"user": connection.login, "port": connection.port, "keyfile": extra.get("key_file")}
    return RemoteAccess(config={name: value for name, value in options.items() if value})


def _refuse_key_inside(connection: "Connection", field_name: str, path_name: str) -> None:
    """:raises TaskError: the Connection holds a key itself, and DVC takes only the path of one."""
    if connection.extra_dejson.get(field_name):
        raise TaskError(
            f"the Connection {connection.conn_id} holds its key itself ({field_name}), which DVC cannot use. Put the "
            f"key into a file on each worker, and its path into {path_name}."
        )


def _access(values: Mapping[str, tuple[str, Any]]) -> RemoteAccess:
    """:param values: by option, the variable of the same meaning, and the value."""
    given = {option: (variable, value) for option, (variable, value) in values.items() if value}
    return RemoteAccess(
        options={option: value for option, (_, value) in given.items()},
        environment={variable: str(value) for variable, value in given.values()},
    )


Read = Callable[["Connection"], RemoteAccess]
#: By the scheme of the remote's address, the types of Connection that fit.
TYPES: Mapping[str, Mapping[str, Read]] = {
    "s3": {"aws": _aws},
    "gs": {"google_cloud_platform": _google},
    "azure": {"wasb": _azure, "azure": _azure, "adls": _azure},
    "ssh": {"ssh": _ssh, "sftp": _ssh},
}
