"""`SetupBucketOperator`: the bucket is there, and the credentials may use it."""

import json
from functools import cached_property
from typing import TYPE_CHECKING, Any

from airflow.providers.amazon.aws.hooks.s3 import S3Hook
from airflow.providers.amazon.aws.utils.connection_wrapper import AwsConnectionWrapper
from airflow.sdk import Connection

from include.settings import RuntimeSettings
from include.store import CONNECT_TIMEOUT, READ_TIMEOUT, ensure_bucket, explained
from ml_operators.base import PipelineOperator
from ml_operators.links import StoreLink

if TYPE_CHECKING:
    from airflow.sdk import Context

PROBE = ".write-probe"


class StoreHook(S3Hook):
    """The Amazon provider's hook, with the address and credentials of `RuntimeSettings`."""

    def __init__(self, runtime: RuntimeSettings) -> None:
        super().__init__(aws_conn_id=None)
        self.runtime = runtime

    @cached_property
    def conn_config(self) -> AwsConnectionWrapper:
        """The connection as the provider expects it."""
        runtime = self.runtime
        extra: dict[str, Any] = {
            "region_name": runtime.aws_default_region,
            "config_kwargs": {
                "connect_timeout": CONNECT_TIMEOUT,
                "read_timeout": READ_TIMEOUT,
                "retries": {"total_max_attempts": 2},
                **({"s3": {"addressing_style": "path"}} if runtime.aws_endpoint_url else {}),
            },
        }
        if runtime.aws_endpoint_url:
            extra["endpoint_url"] = runtime.aws_endpoint_url
        if runtime.aws_session_token:
            extra["aws_session_token"] = runtime.aws_session_token.get_secret_value()
        secret = runtime.aws_secret_access_key
        connection = Connection(
            conn_id="object_store",
            conn_type="aws",
            login=runtime.aws_access_key_id,
            password=secret.get_secret_value() if secret else None,
            extra=json.dumps(extra),
        )
        return AwsConnectionWrapper(conn=connection)


class SetupBucketOperator(PipelineOperator):
    """Make the bucket of ``storage.bucket`` if there is none, and try to list, write and delete in it.

    Running it again changes nothing. Returns ``bucket``, ``endpoint`` and ``created``.
    """

    operator_extra_links = (StoreLink(),)

    def execute(self, context: "Context") -> dict[str, Any]:
        """Make and try the bucket.

        :raises AccessError: the credentials are refused.
        :raises ServiceError: the store does not answer.
        """
        runtime, bucket = self.runtime, self.pipeline_config.storage.bucket
        with explained(runtime, f"storage.bucket: {bucket}"):
            client: Any = StoreHook(runtime).get_conn()
            created = ensure_bucket(client, bucket, runtime)
            client.list_objects_v2(Bucket=bucket, MaxKeys=1)
            client.put_object(Bucket=bucket, Key=PROBE, Body=b"")
            client.delete_object(Bucket=bucket, Key=PROBE)
        self.log.info(
            "Bucket %s at %s: %s", bucket, runtime.aws_endpoint_url or "AWS", "made" if created else "is there"
        )
        return {"bucket": bucket, "endpoint": runtime.aws_endpoint_url, "created": created}
