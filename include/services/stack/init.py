"""What the one-shot services set up, each with the root password of its server, which no other service has.

    python -m include.services.stack.init databases | store | mlflow

Each may be run again: what is there stays, and passwords follow config/.env.
"""

import json
import os
import sys
from collections.abc import Callable
from contextlib import closing
from typing import Any
from urllib.parse import urlsplit

from include.errors import AccessError, ConfigError, PipelineError, ServiceError
from include.settings import PipelineConfig
from include.settings.config_file import load_config

DATABASES = {"airflow": "airflow", "mlflow": "mlflow", "mlflow_auth": "mlflow"}  # and their owners


def databases() -> None:
    """In PostgreSQL a user for Airflow and one for MLflow, each with databases that the other cannot enter."""
    import psycopg2
    from psycopg2 import sql
    from psycopg2.extensions import encrypt_password

    passwords = {"airflow": _required("AIRFLOW_DB_PASSWORD"), "mlflow": _required("MLFLOW_DB_PASSWORD")}
    try:
        connection = psycopg2.connect(host="postgres", user="postgres", dbname="postgres", connect_timeout=10)
    except psycopg2.OperationalError as error:
        if "password authentication failed" in str(error):
            raise AccessError(
                "postgres: the volume was created with a POSTGRES_PASSWORD other than the one in config/.env. Put the "
                "old one back; or, if its data can be deleted, run `make down VOLUMES=1`."
            ) from None
        raise ServiceError(f"postgres: {error}") from None
    connection.autocommit = True  # a database is not made within a transaction
    with closing(connection), connection.cursor() as cursor:
        for user, password in passwords.items():
            cursor.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [user])
            verb = "ALTER" if cursor.fetchone() else "CREATE"
            # Hashed here: the server logs a statement that fails, and with it the password.
            hashed = encrypt_password(password, user, connection, "scram-sha-256")
            statement = sql.SQL("{} ROLE {} LOGIN PASSWORD {}")
            cursor.execute(statement.format(sql.SQL(verb), sql.Identifier(user), sql.Literal(hashed)))
        for name, owner in DATABASES.items():
            cursor.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name])
            database = sql.Identifier(name)
            if not cursor.fetchone():
                cursor.execute(sql.SQL("CREATE DATABASE {} OWNER {}").format(database, sql.Identifier(owner)))
            cursor.execute(sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(database))
    print("postgres: users and databases are ready")


def store() -> None:
    """In MinIO the buckets, and a user for the pipeline and one for MLflow, each with its own buckets alone."""
    import boto3
    from botocore.exceptions import BotoCoreError, ClientError
    from minio import MinioAdmin
    from minio.credentials.providers import StaticProvider
    from minio.error import MinioAdminException

    config, endpoint = load_config(), _required("AWS_ENDPOINT_URL")
    root = (_required("MINIO_ROOT_USER"), _required("MINIO_ROOT_PASSWORD"))
    s3 = boto3.client("s3", endpoint_url=endpoint, aws_access_key_id=root[0], aws_secret_access_key=root[1])
    logs, mlflow = _required("AIRFLOW_LOGS_BUCKET"), _required("MLFLOW_BUCKET")
    try:
        for bucket in (config.storage.bucket, logs, mlflow):
            _make_bucket(s3, bucket)
        address = urlsplit(endpoint)
        admin = MinioAdmin(endpoint=address.netloc, credentials=StaticProvider(*root), secure=address.scheme == "https")
        for user, secret, policy in (
            ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", pipeline_policy(config, logs)),
            ("MLFLOW_STORE_ACCESS_KEY", "MLFLOW_STORE_SECRET_KEY", _policy([mlflow])),
        ):
            name = _required(user)
            admin.policy_add(name, policy=policy)
            admin.user_add(name, _required(secret))
            if name not in json.loads(admin.user_info(name)).get("policyName", "").split(","):
                admin.attach_policy([name], user=name)
    except (ClientError, MinioAdminException) as error:
        raise AccessError(
            f"minio: {error}. If the volume was created with a MINIO_ROOT_PASSWORD other than the one in config/.env, "
            "put the old one back."
        ) from None
    except BotoCoreError as error:
        raise ServiceError(f"minio: {error}") from None
    print("minio: buckets, users and policies are ready")


def mlflow() -> None:
    """Create the pipeline's user in MLflow, who is not an administrator."""
    import requests

    address = _required("MLFLOW_TRACKING_URI")
    admin = (_required("MLFLOW_ADMIN_USER"), _required("MLFLOW_ADMIN_PASSWORD"))
    user = {"username": _required("MLFLOW_TRACKING_USERNAME"), "password": _required("MLFLOW_TRACKING_PASSWORD")}

    def ask(method: str, path: str, **values: Any) -> requests.Response:
        return requests.request(method, f"{address}/api/2.0/mlflow/users/{path}", auth=admin, timeout=15, **values)

    try:
        found = ask("GET", "get", params={"username": user["username"]})
        if found.status_code == 404:
            done = ask("POST", "create", json=user)
        else:
            found.raise_for_status()
            done = ask("PATCH", "update-password", json=user)
        done.raise_for_status()
    except requests.HTTPError as error:
        if error.response.status_code in (401, 403):
            raise AccessError(
                "mlflow: the database was created with an MLFLOW_ADMIN_PASSWORD other than the one in config/.env. Put "
                "the old one back."
            ) from None
        raise ServiceError(f"mlflow: {error.response.status_code} {error.response.text[:300]}") from None
    except requests.RequestException as error:
        raise ServiceError(f"mlflow at {address} does not answer: {type(error).__name__}") from None
    print("mlflow: the pipeline's user is ready")


def pipeline_policy(config: PipelineConfig, *buckets: str) -> dict[str, Any]:
    """What the pipeline may do: all with its own buckets' objects, and read where its data come from."""
    own = [config.storage.bucket, *buckets]
    sources = {urlsplit(place).netloc for place in (config.data.source, config.scoring.input or "") if "s3://" in place}
    return _policy(own, sorted(sources - set(own)))


def _policy(own: list[str], to_read: list[str] | tuple[()] = ()) -> dict[str, Any]:
    reading = ["s3:GetBucketLocation", "s3:ListBucket", "s3:GetObject"]
    uploads = ["s3:ListBucketMultipartUploads", "s3:ListMultipartUploadParts", "s3:AbortMultipartUpload"]
    statements = [_allow(own, [*reading, *uploads, "s3:PutObject", "s3:DeleteObject"])]
    if to_read:
        statements.append(_allow(to_read, reading))
    return {"Version": "2012-10-17", "Statement": statements}


def _allow(buckets: list[str], actions: list[str]) -> dict[str, Any]:
    resources = [f"arn:aws:s3:::{bucket}{objects}" for bucket in buckets for objects in ("", "/*")]
    return {"Effect": "Allow", "Action": actions, "Resource": resources}


def _make_bucket(s3: Any, bucket: str) -> None:
    from botocore.exceptions import ClientError

    try:
        s3.create_bucket(Bucket=bucket)
    except ClientError as error:
        if error.response["Error"]["Code"] != "BucketAlreadyOwnedByYou":
            raise


def _required(name: str) -> str:
    value = os.environ.get(name)
    if not value:
        raise ConfigError(f"{name} is not set. `make env` writes config/.env with everything that is needed.")
    return value


def main(arguments: list[str]) -> int:
    """Run what the argument names."""
    steps: dict[str, Callable[[], None]] = {"databases": databases, "store": store, "mlflow": mlflow}
    try:
        steps[arguments[0]]()
    except PipelineError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
