"""A client of an S3 remote that streams: with what DVC's own client of it has found out, or by its options alone.

Written for `obstore`. Where that is not installed, or cannot do what the remote's options ask for, there is none.
"""

import logging
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from obstore.store import ClientConfig, S3Credential, S3Store

log = logging.getLogger(__name__)

# The options that say all of a remote, so that neither files nor variables of AWS have a say.
NEEDED = frozenset({"url", "endpointurl", "access_key_id", "secret_access_key"})
KNOWN = NEEDED | {"session_token", "region", "connect_timeout", "read_timeout", "verify"}
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

    bucket = root.partition("/")[0]
    meta = sync(fs.fs.loop, fs.fs.get_s3, bucket).meta  # as it was set up for this bucket, in the bucket's region
    return _client(
        bucket,
        meta.endpoint_url,
        meta.region_name,
        None if fs.fs.anon else _credentials(fs.fs),
        (meta.config.connect_timeout, meta.config.read_timeout),
        _certificates(fs.fs, meta.endpoint_url),
    )


def s3_client_by_options(options: Mapping[str, str]) -> S3Client | None:
    """The client for a remote whose options say all that has to be known; without DVC.

    :param options: DVC's, with the credentials.
    :return: None where something else has a say, such as AWS's own address, a role, a certificate.
    """
    root = options.get("url", "").removeprefix("s3://")
    is_whole = options.keys() >= NEEDED and options.keys() <= KNOWN and options["endpointurl"].startswith("http://")
    if not is_whole or not options["url"].startswith("s3://") or _unusable(root):
        return None
    keys = (options["access_key_id"], options["secret_access_key"], options.get("session_token"))
    return _client(
        root.partition("/")[0],
        options["endpointurl"],
        options.get("region") or os.environ.get("AWS_DEFAULT_REGION"),
        lambda: _credential(*keys, None),
        (float(options["connect_timeout"]), float(options["read_timeout"])),
        {},
    )


_started_in: list[int] = []  # the processes in which there was a client


def _unsuitable(fs: Any, root: str) -> str | None:
    """Why our client cannot take the place of DVC's; None if it can."""
    if reason := _unusable(root):
        return reason
    if fs.s3_additional_kwargs or fs.req_kw or fs.version_aware:
        return "the remote has options such as encryption, grants or versions"
    if (file := _certificate_file(fs)) and not os.access(file, os.R_OK):
        return f"{file}, which is to have the certificates, cannot be read"
    section = fs.config_kwargs.get("s3", {})
    if section.keys() - {"addressing_style"} or section.get("addressing_style") == "virtual":
        return "AWS's configuration file has an s3 section"
    return None


def _unusable(root: str) -> str | None:
    """Why there can be no client of ours, in this process or for this folder."""
    try:
        import obstore  # noqa: F401
    except ImportError:
        return "obstore is not installed"
    if _started_in and _started_in[0] != os.getpid():
        return "this process was forked from one in which obstore was at work, whose threads it lacks"
    bucket, _, prefix = root.partition("/")
    if not BUCKET.fullmatch(bucket) or not (prefix == "" or PATH.fullmatch(prefix)):
        return f"{root} is no plain path in a bucket"
    return None


def _certificates(fs: Any, endpoint: str) -> "ClientConfig":
    if not endpoint.startswith("https:"):
        return {}
    if (fs.client_kwargs or {}).get("verify") is False:
        return {"allow_invalid_certificates": True}
    file = _certificate_file(fs)
    return {"root_certificate": Path(file).read_bytes()} if file else {}


def _certificate_file(fs: Any) -> str | None:
    """The file with the certificates to trust, if one is named."""
    verify = (fs.client_kwargs or {}).get("verify")
    found: str | None = verify if isinstance(verify, str) else fs.session.get_config_variable("ca_bundle")
    return None if verify is False else found


def _client(
    bucket: str,
    endpoint: str,
    region: str | None,
    credentials: "Callable[[], S3Credential] | None",
    timeouts: tuple[float, float],
    certificates: "ClientConfig",
) -> S3Client:
    """:param timeouts: to connect, and for each piece that is read; in seconds."""
    from obstore.store import S3Store

    _started_in.append(os.getpid())
    connecting, reading = (timedelta(seconds=seconds) for seconds in timeouts)
    common: ClientConfig = {
        "allow_http": True,
        "connect_timeout": connecting,
        "timeout": SENDING,
        **certificates,
    }
    options: list[ClientConfig] = [{**common, "read_timeout": reading}, common]
    reader, writer = (
        S3Store(
            bucket,
            # Both, for variables of the environment would win over one that is not given.
            endpoint=endpoint,
            aws_endpoint_url_s3=endpoint,
            region=region or "us-east-1",
            virtual_hosted_style_request=False,
            skip_signature=credentials is None,
            credential_provider=credentials,
            client_options=one,
            retry_config={"max_retries": RETRIES, "retry_timeout": timedelta(minutes=3)},
        )
        for one in options
    )
    return S3Client(bucket, reader, writer)


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
