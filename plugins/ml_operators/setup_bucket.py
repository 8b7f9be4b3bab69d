"""`SetupBucketOperator`: make sure that the bucket exists and the credentials may use it."""

from typing import TYPE_CHECKING, Any

from include.store.client import ensure_bucket, translated_errors
from ml_operators.base import PipelineOperator
from ml_operators.links import StoreLink, store_links

if TYPE_CHECKING:
    from airflow.sdk import Context

PROBE = ".write-probe"


class SetupBucketOperator(PipelineOperator):
    """Make the bucket of ``storage.bucket`` if there is none, and try to list, write and delete in it.

    Running it again changes nothing. Returns ``bucket``, ``endpoint`` and ``created``.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.operator_extra_links = store_links(StoreLink())

    def execute(self, context: "Context") -> dict[str, Any]:
        """Make and try the bucket.

        :raises AccessError: the credentials are refused.
        :raises ServiceError: the store does not answer.
        """
        from ml_operators.store_hook import StoreHook

        runtime, bucket = self.runtime, self.pipeline_config.storage.bucket
        with translated_errors(runtime, f"storage.bucket: {bucket}"):
            client: Any = StoreHook(runtime, type(self).__name__).get_conn()
            created = ensure_bucket(client, bucket, runtime)
            client.list_objects_v2(Bucket=bucket, MaxKeys=1)
            client.put_object(Bucket=bucket, Key=PROBE, Body=b"")
            client.delete_object(Bucket=bucket, Key=PROBE)
        self.log.info(
            "Bucket %s at %s: %s", bucket, runtime.aws_endpoint_url or "AWS", "created" if created else "exists"
        )
        return {"bucket": bucket, "endpoint": runtime.aws_endpoint_url, "created": created}
