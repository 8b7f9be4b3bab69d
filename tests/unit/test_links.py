"""Buttons in the web UI: where they lead, and when there is none."""

import pytest

from include.settings import load_runtime_settings
from ml_operators.links import object_url


def url(key: str = "dvc/a b", **settings: str) -> str:
    return object_url(load_runtime_settings(**settings), "ml", key)


def test_an_object_is_shown_in_the_console_of_the_store():
    there = {"aws_endpoint_url": "http://store:9000", "store_console_url": "http://console:9001/"}

    assert url(**there) == "http://console:9001/browser/ml/dvc/a%20b"
    assert url("", **there) == "http://console:9001/browser/ml"


def test_without_a_console_there_is_no_button():
    assert url(aws_endpoint_url="http://127.0.0.1:8333", store_console_url="") == ""


@pytest.mark.parametrize("endpoint", ["", "https://s3.eu-west-1.amazonaws.com"])
def test_of_aws_the_object_is_shown_in_its_console(endpoint):
    there = {"aws_endpoint_url": endpoint, "store_console_url": "", "aws_default_region": "eu-west-1"}
    console = "https://s3.console.aws.amazon.com/s3"

    assert url(**there) == f"{console}/object/ml?region=eu-west-1&prefix=dvc%2Fa+b"
    assert url("", **there) == f"{console}/buckets/ml?region=eu-west-1"
