"""Packing the code of a project: what belongs to it and what does not, one state of it, and what is in the way."""

import hashlib
import os
import socket
import subprocess
import time
from zipfile import ZipFile

import pytest

from dvc_airflow.code_pack import LARGE, LARGEST
from dvc_airflow.code_store import CodeStore
from dvc_airflow.errors import ChangingCodeError, CodeError, RemoteError, WorkspaceError
from tests.support.code_project import DVC_YAML, Project, files, in_workspace

SECRETS = (
    "sesame-env", "sesame-local", "sesame-option", "sesame-ignored", "sesame-url", "sesame-comment",
    "sesame-new", "sesame-home",
)  # fmt: skip


@pytest.fixture
def project(tmp_path, monkeypatch):
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    return Project(tmp_path)


@pytest.fixture
def closed_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        yield probe.getsockname()[1]


def test_no_secret_gets_into_cache_or_remote(project, monkeypatch):
    (project.path / "config").mkdir()
    (project.path / "config" / ".env").write_text("KEY=sesame-env\n")
    (project.path / ".dvc" / "config.local").write_text("['remote \"store\"']\n    password = sesame-local\n")
    config = project.path / ".dvc" / "config"
    config.write_text(
        f"{config.read_text()}# password = sesame-comment\n"
        "['remote \"keys\"']\n    url = s3://bucket/x\n    secret_access_key = sesame-option\n"
        "['remote \"other\"']\n    url = ssh://me:sesame-url@host/x\n"
    )
    (project.path / "ignored.txt").write_text("sesame-ignored\n")
    project.commit("With secrets")
    # Neither tracked nor ignored.
    (project.path / ".env.local").write_text("KEY=sesame-new\n")
    (project.path / "airflow").mkdir()
    (project.path / "airflow" / "airflow.cfg").write_text("fernet_key = sesame-home\n")
    monkeypatch.setenv("AIRFLOW_HOME", str(project.path / "airflow"))

    packed = project.pack()
    stored = b"".join([*files(project.cache, project.remote).values(), packed.text])
    archive = project.cache / "airflow" / "code" / f"{packed.id}.zip"
    with ZipFile(archive) as opened:
        unpacked = b"".join(map(opened.read, opened.namelist()))

    assert b"cat values.txt" in unpacked
    for secret in SECRETS:
        assert secret.encode() not in stored + unpacked
    # What the worker itself has still counts.
    with project.packed_run(packed).workspace({}) as workspace:
        assert "secret_access_key = sesame-option" in (workspace.path / ".dvc" / "config").read_text()


def test_an_input_that_git_ignores_is_named_by_its_hash_and_a_changed_one_refused(project):
    (project.path / "dvc.yaml").write_text(DVC_YAML.replace("[make.sh, values.txt]", "[make.sh, values.txt, ignored]"))
    (project.path / "ignored").mkdir()
    (project.path / "ignored" / "data.csv").write_text("data\n")
    run = project.packed_run(packed := project.pack())

    assert b"data\n" not in files(project.cache, project.remote).values()
    assert in_workspace(run, "ignored")["ignored/data.csv"] == b"data\n"
    assert "ignored/data.csv" not in in_workspace(run)
    (project.path / "ignored" / "data.csv").write_text("others\n")
    with pytest.raises(CodeError, match=r"data\.csv has other content now.*git ignores it\. Put the file back"):
        in_workspace(run, "ignored")
    (project.path / "ignored" / "data.csv").unlink()
    with pytest.raises(CodeError, match=r"data\.csv is not there"):
        in_workspace(run, "ignored")
    assert project.pack().id != packed.id


def test_what_dvc_tracks_in_a_folder_that_a_stage_reads_is_left_to_dvc(project):
    (project.path / "dvc.yaml").write_text(DVC_YAML.replace("[make.sh, values.txt]", "[make.sh, values.txt, data]"))
    (project.path / "data").mkdir()
    (project.path / "data" / "raw.csv").write_text("raw\n")
    (project.path / "data" / ".gitignore").write_text("/raw.csv\n")
    md5 = hashlib.md5(b"raw\n").hexdigest()
    (project.path / "data" / "raw.csv.dvc").write_text(
        f"outs:\n- md5: {md5}\n  size: 4\n  hash: md5\n  path: raw.csv\n"
    )

    assert set(in_workspace(project.packed_run(project.pack()), "data")) >= {"data/raw.csv.dvc"}
    assert "data/raw.csv" not in in_workspace(project.packed_run(project.pack()), "data")


def test_a_file_that_is_too_large_is_named_by_its_hash(project):
    with open(project.path / "huge.bin", "wb") as file:
        file.truncate(LARGEST + 1)
    run = project.packed_run(project.pack())

    assert max(map(len, files(project.cache, project.remote).values())) < LARGE
    with run.workspace({}) as workspace:
        assert (workspace.path / "huge.bin").stat().st_size == LARGEST + 1
    with open(project.path / "huge.bin", "r+b") as file:
        file.write(b"1")
    with pytest.raises(CodeError, match=r"huge\.bin has other content now.*too large"), run.workspace({}):
        pass


def test_a_project_without_git_is_packed_and_has_no_commit(tmp_path, monkeypatch):
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    project = Project(tmp_path, git=False)

    packed = project.pack()

    assert packed.commit == (None, None)
    assert in_workspace(project.packed_run(packed))["values.txt"] == b"1\n"


def test_a_change_beside_the_commit_is_packed_and_said(project):
    commit = project.git("rev-parse", "HEAD")
    (project.path / "values.txt").write_text("dirty\n")

    packed = project.pack()

    assert packed.commit == (commit, True)
    assert in_workspace(project.packed_run(packed))["values.txt"] == b"dirty\n"


def test_a_project_that_changes_all_the_time_is_refused(project, monkeypatch):
    monkeypatch.setattr("dvc_airflow.packing.PAUSE", 0.01)
    original = type(CodeStore(project.run())._local.hashes).of

    def of(self, file):
        found = original(self, file)
        if file.name == "values.txt":
            file.write_text(f"{time.monotonic_ns()}\n")
        return found

    monkeypatch.setattr("dvc_airflow.file_hashes.FileHashes.of", of)

    with pytest.raises(ChangingCodeError, match=r"changes while it is packed .* What changed last: values\.txt\."):
        project.pack()
    assert files(project.remote) == {}


def test_git_at_work_is_waited_for(project, monkeypatch):
    monkeypatch.setattr("dvc_airflow.packing.PAUSE", 0.05)
    lock = project.path / ".git" / "index.lock"
    lock.touch()
    waiting = subprocess.Popen(["/bin/sh", "-c", f"sleep 0.5; echo 2 > {project.path}/values.txt; rm {lock}"])

    packed = project.pack()

    assert waiting.wait() == 0
    assert in_workspace(project.packed_run(packed))["values.txt"] == b"2\n"


def test_a_file_that_this_user_may_not_read_is_left_out_or_refused(project):
    if os.geteuid() == 0:
        pytest.skip("root reads all")
    (project.path / "private.txt").write_text("x\n")
    (project.path / "private.txt").chmod(0)
    assert "private.txt" not in project.pack().pack.files
    (project.path / "values.txt").chmod(0)
    with pytest.raises(CodeError, match=r"values\.txt cannot be read by this user, and a stage depends on it"):
        project.pack()


def test_a_cache_that_cannot_be_written_is_named(project):
    (project.cache / "airflow").write_text("a file where a folder is to be\n")

    with pytest.raises(WorkspaceError, match=r"the code of this run cannot be kept in .*airflow/code: "):
        project.pack()


def test_a_remote_that_is_down_is_retried(project, closed_port):
    options = {"endpointurl": f"http://127.0.0.1:{closed_port}", "access_key_id": "a", "secret_access_key": "b"}
    run = project.run(remote_url="s3://bucket/x", credentials=lambda: options)

    with pytest.raises(RemoteError, match="does not answer") as caught:
        project.pack(run)
    assert not caught.value.is_final


def test_without_cache_and_remote_there_is_nowhere_to_keep_it(project):
    (project.path / ".dvc" / "config").unlink()

    with pytest.raises(CodeError, match="tasks have nowhere to leave their results"):
        project.pack(project.run(cache=False))
