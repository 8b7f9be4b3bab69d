"""Airflow Connections as the credentials of a DVC remote."""

import json

import pytest

from dvc_airflow.connections import remote_access
from dvc_airflow.errors import TaskError


@pytest.fixture
def connection(monkeypatch):
    def define(conn_type, **fields):
        monkeypatch.setenv("AIRFLOW_CONN_STORE", json.dumps({"conn_type": conn_type, **fields}))

    return define


def test_s3_by_a_connection_of_the_amazon_provider(connection):
    connection("aws", login="key", password="secret", extra={"endpoint_url": "http://store:9000", "region_name": "eu"})

    access = remote_access("store", "s3://bucket/prefix")

    assert access.options == {
        "access_key_id": "key",
        "secret_access_key": "secret",
        "endpointurl": "http://store:9000",
        "region": "eu",
    }
    assert access.environment == {
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_ENDPOINT_URL": "http://store:9000",
        "AWS_DEFAULT_REGION": "eu",
    }
    # What the project's own configuration may not contradict, for DVC's commands too; no secret.
    dropped = {"profile": None, "credentialpath": None, "configpath": None}
    assert access.config == {**dropped, "endpointurl": "http://store:9000", "region": "eu"}
    assert access.has_keys


def test_an_s3_connection_without_keys_leaves_them_to_the_workers_role(connection):
    connection("aws", extra={"region_name": "eu"})

    access = remote_access("store", "s3://bucket")

    assert access.options == access.config == {"region": "eu"}
    assert not access.has_keys


def test_keys_and_the_endpoint_where_the_amazon_provider_looks_for_them_too(connection):
    service = {"s3": {"endpoint_url": "http://store:9000"}}
    connection("aws", extra={"aws_access_key_id": "k", "aws_secret_access_key": "s", "service_config": service})

    options = remote_access("store", "s3://bucket").options

    assert options == {"access_key_id": "k", "secret_access_key": "s", "endpointurl": "http://store:9000"}


@pytest.mark.parametrize(
    ("url", "conn_type", "fields", "options"),
    [
        ("gs://b", "google_cloud_platform", {"extra": {"key_path": "/key.json"}}, {"credentialpath": "/key.json"}),
        ("azure://c", "wasb", {"login": "acc", "password": "key"}, {"account_name": "acc", "account_key": "key"}),
        (
            "azure://c",
            "wasb",
            {"login": "id", "password": "pw", "extra": {"tenant_id": "t", "account_name": "acc"}},
            {"account_name": "acc", "tenant_id": "t", "client_id": "id", "client_secret": "pw"},
        ),
        ("azure://c", "wasb", {"extra": {"connection_string": "cs"}}, {"connection_string": "cs"}),
    ],
)
def test_other_stores_by_the_connections_of_their_providers(connection, url, conn_type, fields, options):
    connection(conn_type, **fields)

    assert remote_access("store", url).options == options


def test_ssh_by_a_key_which_is_no_secret_to_write_down(connection):
    connection("ssh", login="jo", port=2222, extra={"key_file": "/key"})

    assert remote_access("store", "ssh://host/path").config == {"user": "jo", "port": 2222, "keyfile": "/key"}


@pytest.mark.parametrize(
    ("url", "conn_type", "fields", "message"),
    [
        (
            "s3://b",
            "generic",
            {},
            r"store is of type generic, but s3://b needs one of type aws\.",
        ),
        ("s3://b", "google_cloud_platform", {}, "needs one of type aws"),
        ("azure://c", "aws", {}, "needs one of type wasb or azure or adls"),
        ("/srv/remote", "aws", {}, "needs no Connection.*Remove remote_conn_id"),
        ("http://host/x", "http", {}, "of a kind that takes none"),
        (
            "gs://b",
            "google_cloud_platform",
            {"extra": {"keyfile_dict": "{}"}},
            "Put the key into a file",
        ),
        ("ssh://h/p", "ssh", {"password": "hunter2"}, "has a password, which cannot be handed"),
        ("ssh://h/p", "sftp", {"extra": {"private_key": "hunter2"}}, "holds its key itself"),
    ],
)
def test_a_connection_that_does_not_fit_is_named_with_what_would(connection, url, conn_type, fields, message):
    connection(conn_type, **fields)

    with pytest.raises(TaskError, match=message) as caught:
        remote_access("store", url)

    assert "hunter2" not in str(caught.value)
    assert caught.value.is_final


def test_a_connection_that_does_not_exist_is_named_with_the_way_to_add_it():
    with pytest.raises(TaskError, match=r"remote_conn_id: Airflow has no Connection nowhere .*AIRFLOW_CONN_NOWHERE"):
        remote_access("nowhere", "s3://bucket")
