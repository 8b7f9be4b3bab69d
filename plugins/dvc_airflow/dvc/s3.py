"""A client of an S3 remote that streams, with what DVC's own client of it has found out: address, region, credentials.

Written for `obstore`. Where that is not installed, or cannot do what the remote's options ask for, there is none.
"""

import logging
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from obstore.store import ClientConfig, S3Credential, S3Store

log = logging.getLogger(__name__)

# Of a bucket with an access point, or of AWS's directory buckets, the address is another one.
BUCKET = re.compile(r"(?!.*--x-s3$)[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
# The client makes requests by the address as it is normalised.
PATH = re.compile(r"(?!.*(^|/)\.{0,2}(/|$))[^\x00-\x1f\x7f]+")
RETRIES = 2
RENEWED_AFTER = timedelta(minutes=5)  # credentials that may expire are asked for again
# A request that sends data has no time-out of its own but this: silence is found by asking, see `watched`.
SENDING = timedelta(minutes=15)


@dataclass(frozen=True)
class S3Client:
    """Two clients of a bucket: one waits for each piece that it reads, the other as long as it takes to send one."""

    bucket: str
    reader: "S3Store"
    writer: "S3Store"


def s3_client(fs: Any, root: str) -> S3Client | None:
    """The client for a remote, if it can be used as the remote's options ask.

    :param fs: of DVC's ``dvc_objects``.
    :param root: the remote's folder, with the bucket.
    """
    if fs.protocol != "s3":
        return None
    if reason := _unsuitable(fs.fs, root):
        log.info("DVC's own client moves the objects of %s: %s", root, reason)
        return None
    from fsspec.asyn import sync

    _started_in.append(os.getpid())
    bucket = root.partition("/")[0]
    meta = sync(fs.fs.loop, fs.fs.get_s3, bucket).meta  # as it was set up for this bucket, in the bucket's region
    waiting: ClientConfig = {
        "allow_http": True,
        "connect_timeout": timedelta(seconds=meta.config.connect_timeout),
        **_certificates(fs.fs, meta.endpoint_url),
    }
    patience = timedelta(seconds=meta.config.read_timeout)
    reading: ClientConfig = {**waiting, "read_timeout": patience, "timeout": SENDING}
    sending: ClientConfig = {**waiting, "timeout": SENDING}
    return S3Client(bucket, *(_store(fs.fs, bucket, meta, options) for options in (reading, sending)))


_started_in: list[int] = []  # the processes in which there was a client


def _unsuitable(fs: Any, root: str) -> str | None:
    """Why our client cannot take the place of DVC's; None if it can."""
    try:
        import obstore  # noqa: F401
    except ImportError:
        return "obstore is not installed"
    if _started_in and _started_in[0] != os.getpid():
        return "this process was forked from one in which obstore was at work, whose threads it lacks"
    bucket, _, prefix = root.partition("/")
    if not BUCKET.fullmatch(bucket) or not (prefix == "" or PATH.fullmatch(prefix)):
        return f"{root} is no plain path in a bucket"
    if fs.s3_additional_kwargs or fs.req_kw or fs.version_aware:
        return "the remote has options such as encryption, grants or versions"
    section = fs.config_kwargs.get("s3", {})
    if section.keys() - {"addressing_style"} or section.get("addressing_style") == "virtual":
        return "AWS's configuration file has an s3 section"
    return None


def _certificates(fs: Any, endpoint: str) -> "ClientConfig":
    if not endpoint.startswith("https:"):
        return {}
    verify = (fs.client_kwargs or {}).get("verify")
    if verify is False:
        return {"allow_invalid_certificates": True}
    file = verify if isinstance(verify, str) else fs.session.get_config_variable("ca_bundle")
    return {"root_certificate": Path(file).read_bytes()} if file else {}


def _store(fs: Any, bucket: str, meta: Any, options: "ClientConfig") -> "S3Store":
    from obstore.store import S3Store

    return S3Store(
        bucket,
        # Both, for variables of the environment would win over one that is not given.
        endpoint=meta.endpoint_url,
        aws_endpoint_url_s3=meta.endpoint_url,
        region=meta.region_name or "us-east-1",
        virtual_hosted_style_request=False,
        skip_signature=bool(fs.anon),
        credential_provider=None if fs.anon else _credentials(fs),
        client_options=options,
        retry_config={"max_retries": RETRIES, "retry_timeout": timedelta(minutes=3)},
    )


def _credentials(fs: Any) -> "Callable[[], S3Credential]":
    """What gives the credentials that DVC's client uses; they stay in memory."""
    from fsspec.asyn import sync

    async def frozen() -> Any:
        found = await fs.session.get_credentials()
        return found and await found.get_frozen_credentials()

    def give() -> "S3Credential":
        if fs.key and fs.secret:
            return _credential(fs.key, fs.secret, fs.token, None)
        from botocore.exceptions import NoCredentialsError

        if (found := sync(fs.loop, frozen)) is None:
            raise NoCredentialsError
        return _credential(found.access_key, found.secret_key, found.token, datetime.now(UTC) + RENEWED_AFTER)

    return give


def _credential(key: str, secret: str, token: str | None, expires_at: datetime | None) -> "S3Credential":
    return {"access_key_id": key, "secret_access_key": secret, "token": token, "expires_at": expires_at}
