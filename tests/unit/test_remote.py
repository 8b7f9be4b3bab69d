"""What a remote's errors mean to people: with real clients, and nobody or a wrong answer at the other end."""

import errno
import os
import socket
import sys
import threading
from importlib.metadata import PackageNotFoundError

import pytest

from dvc_airflow.dvc import packages, remote
from dvc_airflow.dvc.remote import RemoteFolder, few_attempts, remote_odb, translated_errors, watched
from dvc_airflow.dvc.repo import DvcWorkspace
from dvc_airflow.errors import MissingPackageError, RemoteError, RemoteRefusedError


@pytest.fixture
def code(tmp_path):
    (tmp_path / "project").mkdir()
    (tmp_path / "project" / "dvc.yaml").write_text("stages: {}\n")
    return tmp_path / "project"


def ask(code, port: int) -> None:
    credentials = {
        "endpointurl": f"http://127.0.0.1:{port}", "access_key_id": "a", "secret_access_key": "hunter2", "region": "x",
    }  # fmt: skip
    with (
        DvcWorkspace(code, remote_url="s3://bucket/dvc", credentials=lambda: credentials) as workspace,
        workspace.repo() as repo,
        translated_errors(repo),
    ):
        remote_odb(repo).fs.info("bucket/dvc/x")


def test_nobody_there(code):
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]

    with pytest.raises(RemoteError, match=rf"s3://bucket/dvc at http://127\.0\.0\.1:{port} does not answer") as caught:
        ask(code, port)

    assert not isinstance(caught.value, RemoteRefusedError)
    assert "hunter2" not in str(caught.value)


def test_a_refusal(code):
    answer = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"

    def refuse() -> None:
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            with connection:
                connection.recv(65536)
                connection.sendall(answer)

    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=refuse, daemon=True).start()
        with pytest.raises(RemoteRefusedError, match="refuses the credentials"):
            ask(code, server.getsockname()[1])


@pytest.mark.parametrize(
    ("url", "module", "wheel", "said"),
    [
        ("s3://bucket/dvc", "dvc_s3", True, r'needs dvc-s3, .* Run `pip install "airflow-provider-dvc\[s3\]"`'),
        ("webdavs://host/dvc", "dvc_webdav", True, r'needs dvc-webdav, .* Run `pip install "dvc\[webdav\]"`'),
        ("gs://bucket/dvc", "dvc_gs", False, r'needs dvc-gs, .* Run `pip install "dvc\[gs\]"`'),
    ],
)
def test_a_remote_of_a_kind_that_is_not_installed_is_said_with_what_to_install(
    code, tmp_path, monkeypatch, url, module, wheel, said
):
    """An extra of the wheel, where that is installed and has one; else one of DVC."""
    monkeypatch.setitem(sys.modules, module, None)  # as if it were not there

    def not_installed(name):
        raise PackageNotFoundError(name)

    if not wheel:  # whatever is installed beside these tests
        monkeypatch.setattr(packages, "metadata", not_installed)
    else:
        installed = tmp_path / "site" / "airflow_provider_dvc-1.dist-info"
        installed.mkdir(parents=True)
        (installed / "METADATA").write_text("Name: airflow-provider-dvc\nVersion: 1\nProvides-Extra: s3\n")
        monkeypatch.syspath_prepend(str(tmp_path / "site"))

    with (
        pytest.raises(MissingPackageError, match=rf"^the DVC remote {url} {said}") as caught,
        DvcWorkspace(code, remote_url=url) as workspace,
        workspace.repo() as repo,
    ):
        remote_odb(repo)

    assert caught.value.is_final
    assert "\n" not in str(caught.value)


def test_a_client_that_lacks_a_part_is_said_with_the_part(code, monkeypatch):
    from dvc_s3 import S3FileSystem

    monkeypatch.setattr(S3FileSystem, "REQUIRES", {"s3fs": "s3fs_that_is_not_there"})
    with (
        pytest.raises(MissingPackageError, match=r"^the DVC remote s3://bucket/dvc needs s3fs, .*dvc\[s3\]"),
        DvcWorkspace(code, remote_url="s3://bucket/dvc") as workspace,
        workspace.repo() as repo,
    ):
        remote_odb(repo)


def test_a_dep_at_an_address_of_a_kind_that_is_not_installed_is_said_so_too(code, monkeypatch):
    monkeypatch.setitem(sys.modules, "dvc_gs", None)
    (code / "dvc.yaml").write_text("stages: {a: {cmd: a, deps: ['gs://bucket/data.csv']}}\n")
    with (
        pytest.raises(MissingPackageError, match=r"^gs:// needs dvc-gs, which is not installed where this runs"),
        DvcWorkspace(code) as workspace,
        workspace.repo() as repo,
    ):
        repo.index.check_graph()


@pytest.mark.parametrize("there", ["a file", "nothing that can be made"])
def test_a_folder_that_cannot_be_written_to_is_named(code, tmp_path, there):
    (tmp_path / "file").touch()
    url = str(tmp_path / "file" / "remote") if there == "a file" else "/proc/none"
    said = rf"^the DVC remote {url} cannot be used \(\[Errno \d+\] .*\)\. Check that folder\.$"

    with DvcWorkspace(code, remote_url=url) as workspace, workspace.repo() as repo:
        with pytest.raises(RemoteError, match=said):
            RemoteFolder(repo).write(b"", "runs", "a")
        with pytest.raises(RemoteError, match=said), translated_errors(repo):
            raise OSError(errno.EROFS, "Read-only file system", f"{url}/files/md5/33/.tmp")
        with pytest.raises(OSError, match="another"), translated_errors(repo):
            raise OSError(errno.EROFS, "another", str(tmp_path / "elsewhere"))


def test_errors_of_others_pass_through(code):
    with DvcWorkspace(code, remote_url="s3://bucket/dvc") as workspace, workspace.repo() as repo:
        with pytest.raises(FileNotFoundError), translated_errors(repo):
            raise FileNotFoundError
        with pytest.raises(KeyError), translated_errors(repo):
            raise KeyError


@pytest.mark.parametrize("key", ["", "a"])
def test_without_credentials_it_is_said_where_they_are_looked_for(code, tmp_path, monkeypatch, key):
    """A key without its secret is none."""
    for name in ("AWS_SECRET_ACCESS_KEY", "AWS_PROFILE", "AWS_WEB_IDENTITY_TOKEN_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", key)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))

    with (
        DvcWorkspace(code, remote_url="s3://bucket/dvc", credentials=lambda: {"region": "x"}) as workspace,
        workspace.repo() as repo,
        pytest.raises(RemoteRefusedError) as caught,
        translated_errors(repo),
    ):
        remote_odb(repo).fs.info("bucket/dvc/x")

    said = str(caught.value)
    assert said.startswith("no credentials for the DVC remote s3://bucket/dvc")
    assert (
        "Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE with a profile of ~/.aws/credentials" in said
    )
    assert "refuses" not in said


def test_nothing_of_a_workspace_is_left_where_dvc_keeps_databases_of_checkouts(code, tmp_path, monkeypatch):
    monkeypatch.setenv("DVC_SITE_CACHE_DIR", str(tmp_path / "site"))

    with DvcWorkspace(code, remote_url="s3://bucket/dvc") as workspace, workspace.repo() as repo:
        assert repo.site_cache_dir.startswith(f"{workspace.path}/")

    assert not (tmp_path / "site").exists()
    assert os.environ["DVC_SITE_CACHE_DIR"] == str(tmp_path / "site")


def test_the_number_of_attempts_is_put_back(monkeypatch):
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "7")
    with few_attempts():
        assert os.environ["AWS_MAX_ATTEMPTS"] == "1"
    assert os.environ["AWS_MAX_ATTEMPTS"] == "7"
    monkeypatch.delenv("AWS_MAX_ATTEMPTS")
    with few_attempts():
        pass
    assert "AWS_MAX_ATTEMPTS" not in os.environ


@pytest.mark.parametrize("name", [None, "archive"])
def test_the_remote_that_is_at_work_is_the_one_that_is_watched(monkeypatch, name):
    asked, ended = [], threading.Event()

    def probe(repo, name) -> None:
        asked.append(name)
        raise RemoteError("silent")

    monkeypatch.setattr(remote, "probe", probe)
    monkeypatch.setattr(remote, "WATCH_SECONDS", 0.01)

    with pytest.raises(RemoteError, match="silent"), watched(None, ended.set, name):
        raise InterruptedError if ended.wait(60) else AssertionError  # as what was ended does

    assert asked == [name] * remote.SILENT_PROBES
