"""Which remotes have a client of ours, and what it takes over from DVC's own; nothing is asked over a network."""

import logging
import os
import sys
from typing import Any

import pytest
from dvc_s3 import S3FileSystem

from dvc_airflow.dvc.s3 import s3_client, s3_client_by_options

KEYS = {"access_key_id": "key", "secret_access_key": "hunter2", "region": "eu-central-1"}


@pytest.fixture(autouse=True)
def _environment(monkeypatch, tmp_path):
    for name in ("AWS_PROFILE", "AWS_CA_BUNDLE", "AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))


def client_of(root: str = "bucket/dvc/files/md5", **options: Any) -> Any:
    return s3_client(S3FileSystem(**{"endpointurl": "http://127.0.0.1:1", **KEYS, **options}), root)


def test_address_region_and_credentials_are_dvcs(monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:2")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "of another key")
    monkeypatch.setenv("AWS_SKIP_SIGNATURE", "true")

    client = client_of(read_timeout=3, connect_timeout=2)

    for store in (client.reader, client.writer):
        assert store.config["bucket"] == "bucket"
        assert "http://127.0.0.1:1" in store.config.values()
        assert "http://127.0.0.1:2" not in store.config.values()
        assert store.config["region"] == "eu-central-1"
        assert store.config["skip_signature"] == "false"
        assert store.credential_provider() == {
            "access_key_id": "key", "secret_access_key": "hunter2", "token": None, "expires_at": None,
        }  # fmt: skip
        assert "hunter2" not in repr(store)
    assert "3s" in str(client.reader.client_options["read_timeout"])
    assert "read_timeout" not in client.writer.client_options


def test_credentials_of_a_profile_are_asked_for_again(tmp_path):
    (tmp_path / "credentials").write_text("[mine]\naws_access_key_id = of mine\naws_secret_access_key = s\n")

    client = client_of(access_key_id=None, secret_access_key=None, profile="mine")

    found = client.reader.credential_provider()
    assert found["access_key_id"] == "of mine"
    assert found["expires_at"] is not None


def test_public_buckets_are_read_without_credentials():
    client = client_of(access_key_id=None, secret_access_key=None, allow_anonymous_login=True)

    assert client.reader.config["skip_signature"] == "true"


@pytest.mark.parametrize(
    "options",
    [
        {"sse": "AES256"},
        {"sse_kms_key_id": "x", "sse": "aws:kms"},
        {"acl": "bucket-owner-full-control"},
        {"grant_read": "x"},
        {"version_aware": True},
        {"root": "bucket/a//b"},
        {"root": "bucket/../b"},
        {"root": "bucket/a\tb"},
        {"root": "Bucket_Of_Old/dvc"},
        {"root": "bucket--x-s3/dvc"},
    ],
)
def test_what_only_dvcs_client_can_do_is_left_to_it(options, caplog):
    caplog.set_level(logging.INFO)

    assert client_of(**options) is None
    assert "DVC's own client moves the objects" in caplog.text


def test_an_s3_section_of_the_configuration_is_left_to_dvc(tmp_path):
    (tmp_path / "config").write_text("[default]\ns3 =\n    addressing_style = virtual\n")

    assert client_of() is None


def test_without_obstore_dvcs_client_does_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "obstore", None)

    assert client_of() is None


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")  # that is what is tested
def test_a_fork_of_a_process_with_a_client_leaves_it_to_dvc(caplog):
    caplog.set_level(logging.INFO)
    assert client_of()
    receiver, sender = os.pipe()
    if not (fork := os.fork()):
        os.write(sender, str(client_of()).encode())
        os._exit(0)
    os.waitpid(fork, 0)

    assert os.read(receiver, 99) == b"None"
    assert client_of()


def test_other_remotes_are_dvcs():
    from dvc_objects.fs.local import LocalFileSystem

    assert s3_client(LocalFileSystem(), "/remote/files/md5") is None


def test_certificates_of_ones_own_are_trusted(monkeypatch, tmp_path):
    import certifi

    monkeypatch.setenv("AWS_CA_BUNDLE", certifi.where())

    assert "root_certificate" in client_of(endpointurl="https://127.0.0.1:1").reader.client_options
    assert (
        "allow_invalid_certificates"
        in client_of(endpointurl="https://127.0.0.1:1", ssl_verify=False).reader.client_options
    )


def test_certificates_that_cannot_be_read_are_dvcs_to_complain_of(monkeypatch, caplog):
    caplog.set_level(logging.INFO)
    monkeypatch.setenv("AWS_CA_BUNDLE", "/no/such/file.pem")

    assert client_of(endpointurl="https://127.0.0.1:1") is None
    assert "/no/such/file.pem, which is to have the certificates, cannot be read" in caplog.text


WHOLE = {
    **KEYS, "url": "s3://bucket/dvc", "endpointurl": "http://127.0.0.1:1", "verify": "true", "connect_timeout": "5",
    "read_timeout": "8",
}  # fmt: skip


def test_options_that_say_all_are_enough_for_a_client():
    client = s3_client_by_options({**WHOLE, "session_token": "t"})

    assert client.bucket == "bucket"
    assert "http://127.0.0.1:1" in client.reader.config.values()
    assert client.reader.config["region"] == "eu-central-1"
    assert client.writer.credential_provider()["token"] == "t"
    assert "8s" in str(client.reader.client_options["read_timeout"])


@pytest.mark.parametrize(
    "change",
    [
        {"profile": "mine"},
        {"sse": "AES256"},
        {"url": "gs://bucket/dvc"},
        {"url": "s3://bucket/a//b"},
        {"endpointurl": "https://127.0.0.1:1"},  # certificates have a say
        *({name: None} for name in ("url", "endpointurl", "access_key_id", "secret_access_key")),
    ],
)
def test_options_that_do_not_say_all_are_no_client(change):
    options = {name: value for name, value in {**WHOLE, **change}.items() if value is not None}

    assert s3_client_by_options(options) is None
