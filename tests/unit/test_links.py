"""Buttons in the web UI: where they lead, and when there is none."""

from types import SimpleNamespace

import pytest

from include.settings import load_runtime_settings
from ml_operators import links
from ml_operators.links import BaseXCom, MlflowRunLink, ModelVersionLink, StoreLink, object_url, store_links


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


@pytest.fixture(autouse=True)
def _nothing_known():
    links._has_console.cache_clear()
    links._pulled.clear()


@pytest.mark.parametrize(
    ("in_a_task", "console", "shown"), [(False, "", 1), (True, "", 0), (True, "http://console:9001", 1)]
)
def test_a_task_writes_no_address_of_a_console_that_is_not_there(monkeypatch, in_a_task, console, shown):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:8333")
    monkeypatch.setenv("STORE_CONSOLE_URL", console)
    if in_a_task:
        monkeypatch.setenv("_AIRFLOW_PARSING_CONTEXT_TASK_ID", "setup_bucket")

    assert len(store_links(StoreLink())) == shown


def test_wrong_settings_are_for_the_task_to_report(monkeypatch):
    monkeypatch.setenv("STORE_READ_TIMEOUT", "soon")
    monkeypatch.setenv("_AIRFLOW_PARSING_CONTEXT_TASK_ID", "setup_bucket")

    assert len(store_links(StoreLink())) == 1


def test_the_links_of_a_task_pull_its_result_once_and_those_of_a_retry_anew(monkeypatch):
    results = [{"name": "iris", "version": "3"}, {"name": "iris", "version": "4"}]
    monkeypatch.setattr(BaseXCom, "get_value", lambda **_: results.pop(0))
    first, second = SimpleNamespace(id="1"), SimpleNamespace(id="2")

    assert MlflowRunLink().get_link(None, ti_key=first) == ""
    assert ModelVersionLink().get_link(None, ti_key=first).endswith("/versions/3")
    assert ModelVersionLink().get_link(None, ti_key=second).endswith("/versions/4")
    assert results == []
