"""`StoreHook`: the Amazon provider's S3 hook for the store of `RuntimeSettings`.

A module of its own: importing the provider takes a quarter of a second, which every task would pay that parses the DAG.
"""

import json
from functools import cached_property
from typing import Any

import boto3
from airflow.providers.amazon.aws.hooks.s3 import S3Hook
from airflow.providers.amazon.aws.utils.connection_wrapper import AwsConnectionWrapper
from airflow.sdk import Connection

from include.settings import RuntimeSettings
from include.store.client import session


class StoreHook(S3Hook):
    """The Amazon provider's hook, with the address and credentials of `RuntimeSettings`.

    :param caller: the operator's class, for the user agent.
    """

    def __init__(self, runtime: RuntimeSettings, caller: str = "Unknown") -> None:
        super().__init__(aws_conn_id=None)
        self.runtime, self.caller = runtime, caller

    def get_session(self, region_name: str | None = None, deferrable: bool = False) -> boto3.Session:
        """A session that reads botocore's description of S3 no second time; the provider's own would."""
        login = self.conn_config
        return boto3.Session(
            aws_access_key_id=login.aws_access_key_id,
            aws_secret_access_key=login.aws_secret_access_key,
            aws_session_token=login.aws_session_token,
            region_name=region_name or login.region_name,
            botocore_session=session(),
        )

    def _get_caller(self, target_function_name: str = "execute") -> str:
        # The provider would look for it on the stack, with the source of each frame, in a quarter of a second.
        return self.caller

    @cached_property
    def conn_config(self) -> AwsConnectionWrapper:
        """The connection as the provider expects it."""
        runtime = self.runtime
        extra: dict[str, Any] = {
            "region_name": runtime.aws_default_region,
            "config_kwargs": {
                "connect_timeout": runtime.store_connect_timeout,
                "read_timeout": runtime.store_read_timeout,
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
