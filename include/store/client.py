"""The object store (S3), reached with the addresses and credentials of `RuntimeSettings`."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any

from include.errors import AccessError, ConfigError, PipelineError, ServiceError, sentence
from include.settings import RuntimeSettings, how_to_start

if TYPE_CHECKING:
    from botocore.exceptions import ClientError
    from botocore.loaders import Loader
    from botocore.response import StreamingBody
    from botocore.session import Session
    from mypy_boto3_s3 import S3Client

CREDENTIALS = "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (environment or config/.env)"
_REFUSED = {"403", "401", "AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken"}


def client(runtime: RuntimeSettings, *, attempts: int = 2, patience: float | None = None) -> "S3Client":
    """Make an S3 client. Credentials that are not set are left to boto3's own chain (roles, profiles).

    :param attempts: of each request.
    :param patience: how long to wait for data, in seconds, if the settings say longer; None: as they say.
    :raises ConfigError: the endpoint is not an address.
    """
    import boto3
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError

    def secret(value: Any) -> str | None:
        return value.get_secret_value() if value else None

    config = Config(
        connect_timeout=runtime.store_connect_timeout,
        read_timeout=min(runtime.store_read_timeout, patience or runtime.store_read_timeout),
        retries={"total_max_attempts": attempts},
        max_pool_connections=32,
        # A bucket in the host name needs a DNS entry per bucket, which no self-hosted store has.
        s3={"addressing_style": "path"} if runtime.aws_endpoint_url else None,
    )
    try:
        return boto3.Session(botocore_session=session()).client(
            "s3",
            endpoint_url=runtime.aws_endpoint_url or None,
            aws_access_key_id=runtime.aws_access_key_id,
            aws_secret_access_key=secret(runtime.aws_secret_access_key),
            aws_session_token=secret(runtime.aws_session_token),
            region_name=runtime.aws_default_region,
            config=config,
        )
    except (ValueError, BotoCoreError) as error:
        raise ConfigError(
            f"the object store cannot be used with AWS_ENDPOINT_URL={runtime.aws_endpoint_url!r}, AWS_DEFAULT_REGION="
            f"{runtime.aws_default_region!r} and AWS_PROFILE: {error}"
        ) from None


def session() -> "Session":
    """A new session of botocore. What botocore's files say of S3 is read once per process, for all sessions: it takes
    as long as twenty requests.
    """
    from botocore.session import Session

    made = Session()
    loader = _loader(made.get_config_variable("data_path"))
    loader.search_paths[:] = dict.fromkeys(loader.search_paths)  # each session of boto3 adds its folder once more
    made.register_component("data_loader", loader)
    return made


def read_descriptions() -> None:
    """Read botocore's files for the sessions that this process, or a fork of it, makes later."""
    session().create_client("s3", region_name="us-east-1", aws_access_key_id="none", aws_secret_access_key="none")  # noqa: S106


@cache
def _loader(data_path: str | None) -> "Loader":
    from botocore.loaders import create_loader

    return create_loader(data_path)


def ensure_bucket(s3: Any, bucket: str, runtime: RuntimeSettings) -> bool:
    """Make the bucket if there is none.

    :param s3: a client of `client`, or of the Amazon provider's hook.
    :return: whether it was made now.
    """
    from botocore.exceptions import ClientError

    try:
        s3.head_bucket(Bucket=bucket)
        return False
    except ClientError as error:
        if error_code(error) not in ("404", "NoSuchBucket"):
            raise
    # AWS wants the region named, but for us-east-1, where it must not be.
    elsewhere = not runtime.aws_endpoint_url and runtime.aws_default_region != "us-east-1"
    place = {"CreateBucketConfiguration": {"LocationConstraint": runtime.aws_default_region}} if elsewhere else {}
    try:
        s3.create_bucket(Bucket=bucket, **place)
    except ClientError as error:
        if error_code(error) not in ("BucketAlreadyOwnedByYou", "BucketAlreadyExists"):
            raise
        s3.head_bucket(Bucket=bucket)  # another run was faster; is it ours?
        return False
    return True


def error_code(error: Any) -> str:
    """The S3 error code of a botocore `ClientError`, such as ``404`` or ``NoSuchBucket``."""
    return str(error.response.get("Error", {}).get("Code", ""))


def body_of(s3: "S3Client", bucket: str, key: str) -> "StreamingBody | None":
    """The content of an object, to be read; None if there is none."""
    from botocore.exceptions import ClientError

    try:
        return s3.get_object(Bucket=bucket, Key=key)["Body"]
    except ClientError as error:
        if error_code(error) in ("404", "NoSuchKey"):
            return None
        raise


@contextmanager
def translated_errors(runtime: RuntimeSettings, doing: str) -> Iterator[None]:
    """Turn botocore's errors into ours, with the endpoint and the remedy.

    :param doing: what was being done, as in ``listing bucket x``.
    :raises AccessError: the credentials are missing or refused.
    :raises ServiceError: the store does not answer, or answers with a fault of its own.
    """
    from botocore.exceptions import (
        BotoCoreError,
        ClientError,
        EndpointConnectionError,
        HTTPClientError,
        NoCredentialsError,
        PartialCredentialsError,
    )

    endpoint = runtime.aws_endpoint_url or "AWS"
    try:
        yield
    except (NoCredentialsError, PartialCredentialsError):
        raise AccessError(
            f"{doing}: no credentials for the object store at {endpoint}. Set {CREDENTIALS}.{how_to_start(endpoint)}"
        ) from None
    except (EndpointConnectionError, HTTPClientError) as error:
        raise ServiceError(
            f"{doing}: the object store at {endpoint} does not answer ({type(error).__name__}). "
            f"Is it running, and is AWS_ENDPOINT_URL right?{how_to_start(endpoint)}"
        ) from None
    except ClientError as error:
        raise _translated(error, doing, endpoint) from None
    except BotoCoreError as error:
        raise ServiceError(f"{doing}: the object store at {endpoint}: {sentence(str(error))}") from None


def _translated(error: "ClientError", doing: str, endpoint: str) -> PipelineError:
    """What a store's answer means to people."""
    code = error_code(error)
    if code == "RequestTimeTooSkewed":
        return AccessError(
            f"{doing}: the clocks of this machine and of the object store at {endpoint} differ by more than a "
            "quarter of an hour. Set both by NTP."
        )
    if code in _REFUSED:
        return AccessError(
            f"{doing}: the object store at {endpoint} refuses the credentials ({code}). Check {CREDENTIALS}."
            f"{how_to_start(endpoint)}"
        )
    return ServiceError(f"{doing}: the object store at {endpoint} answered {code}: {sentence(str(error))}")
