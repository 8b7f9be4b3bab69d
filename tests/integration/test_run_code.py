"""The code of a run: packed once, kept in cache and remote, the same in all tasks whatever becomes of the project."""

import hashlib
import json
import os
import shutil
import socket
import subprocess
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from zipfile import ZipFile

import pytest

from dvc_airflow.code_pack import LARGE, LARGEST
from dvc_airflow.code_store import CodeStore
from dvc_airflow.errors import ChangingCodeError, CodeError, RemoteError, WorkspaceError
from dvc_airflow.failure import CommandError
from dvc_airflow.packing import Packed
from dvc_airflow.prepare import bundle_version
from dvc_airflow.project_run import ProjectRun
from dvc_airflow.result import StageResult
from dvc_airflow.stage_run import StageRun
from dvc_airflow.stage_settings import StageSettings

DVC_YAML = """\
stages:
  make:
    cmd: bash make.sh > made.txt
    deps: [make.sh, values.txt]
    outs: [made.txt]
"""
SECRETS = (
    "sesame-env", "sesame-local", "sesame-option", "sesame-ignored", "sesame-url", "sesame-comment",
    "sesame-new", "sesame-home",
)  # fmt: skip


class Project:
    """A DVC project in a git checkout, with a folder as its remote."""

    def __init__(self, folder: Path, *, git: bool = True) -> None:
        self.path, self.cache, self.remote = folder / "project", folder / "cache", folder / "remote"
        self.graphs = folder / "graphs"
        for path in (self.path, self.cache, self.remote, self.path / ".dvc"):
            path.mkdir()
        (self.path / "dvc.yaml").write_text(DVC_YAML)
        (self.path / "make.sh").write_text("cat values.txt; echo made\n")
        (self.path / "values.txt").write_text("1\n")
        (self.path / ".gitignore").write_text("/made.txt\n/ignored*\n.env\n")
        (self.path / ".dvc" / ".gitignore").write_text("/config.local\n/tmp\n/cache\n")
        (self.path / ".dvc" / "config").write_text(
            f"[core]\n    remote = store\n['remote \"store\"']\n    url = {self.remote}\n"
        )
        if git:
            self.git("init", "-q")
            self.commit("First")

    def git(self, *arguments: str) -> str:
        names = {f"GIT_{role}_{what}": "a@b" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
        done = subprocess.run(
            ["git", *arguments], cwd=self.path, env={**os.environ, **names}, capture_output=True, text=True, check=True
        )
        return done.stdout.strip()

    def commit(self, message: str) -> str:
        self.git("add", "-A")
        self.git("commit", "-q", "-m", message)
        return self.git("rev-parse", "HEAD")

    def run(self, run_id: str = "run", *, cache: bool = True, **changes: Any) -> ProjectRun:
        cache_dir = self.cache if cache else None
        return replace(ProjectRun(self.path, dag_id="dag", run_id=run_id, cache_dir=cache_dir), **changes)

    def pack(self, run: ProjectRun | None = None) -> Packed:
        return CodeStore(run or self.run()).pack(self.graphs)

    def packed_run(self, packed: Packed, run: ProjectRun | None = None) -> ProjectRun:
        run = run or self.run()
        return replace(run, code=CodeStore(run).load(packed.id, packed.commit.sha))

    def stage(self, run: ProjectRun, name: str = "make") -> StageRun:
        command = "what the DAG's file was parsed with"
        settings = StageSettings(name, f"dvc repro --single-item {name}", command)
        return StageRun(run, run.as_packed(settings, []), {})

    def made(self, result: StageResult) -> str:
        """The output of the stage."""
        md5 = result.entry["outs"][0]["md5"]
        return next(
            file.read_text()
            for folder in (self.cache, self.remote)
            if (file := folder / "files" / "md5" / md5[:2] / md5[2:]).is_file()
        )


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


def files(*folders: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for folder in folders for path in folder.rglob("*") if path.is_file()}


def in_workspace(run: ProjectRun, *sources: str) -> dict[str, bytes]:
    with run.workspace({}, sources, run.code.listed.outputs if run.code else ()) as workspace:
        own = {str(path.relative_to(workspace.path)): path for path in workspace.path.rglob("*") if path.is_file()}
        return {name: path.read_bytes() for name, path in own.items() if not name.startswith(".dvc/")}


@pytest.mark.parametrize("cache", [True, False])
def test_a_run_has_one_code_whatever_is_committed_meanwhile(project, cache):
    run = project.run(cache=cache)
    packed, commit = project.pack(run), project.git("rev-parse", "HEAD")
    (project.path / "values.txt").write_text("2\n")
    (project.path / "dvc.yaml").write_text(DVC_YAML.replace("bash make.sh", "exit 1; bash make.sh"))
    (project.path / "make.sh").unlink()
    project.commit("Second")

    result = project.stage(project.packed_run(packed, run)).run()

    assert packed.commit == (commit, False)
    assert result.outcome == "executed"
    assert project.made(result) == "1\nmade\n"


def test_a_run_of_before_ten_commits_is_run_again_with_its_own_code(project):
    packed = project.pack()
    first = project.stage(project.packed_run(packed)).run()
    for number in range(10):
        (project.path / "values.txt").write_text(f"of commit {number}\n")
        project.commit(f"Commit {number}")
    later = project.pack()
    newer = project.stage(project.packed_run(later, project.run("later"))).run()

    again = project.stage(project.packed_run(packed)).run()

    assert project.made(newer) == "of commit 9\nmade\n"
    assert again.entry == first.entry
    assert again.outcome == "restored"
    assert "values.txt changed" in again.reason


def test_a_worker_with_another_checkout_takes_the_code_of_the_run(project, tmp_path):
    packed = project.pack(project.run(cache=False))
    (tmp_path / "elsewhere").mkdir()
    other = Project(tmp_path / "elsewhere")
    (other.path / "values.txt").write_text("another\n")
    shutil.rmtree(tmp_path / "tmp")
    (tmp_path / "tmp").mkdir()
    run = other.run(cache=False, remote_url=str(project.remote))

    assert in_workspace(other.packed_run(packed, run))["values.txt"] == b"1\n"


def test_what_was_packed_before_is_not_stored_again(project):
    first = project.pack()
    before = {path: Path(path).stat().st_ino for path in files(project.cache, project.remote)}

    second = project.pack()

    assert first.id == second.id
    assert {path: Path(path).stat().st_ino for path in files(project.cache, project.remote)} == before


def test_a_large_file_is_stored_once_for_all_packs_that_have_it(project):
    (project.path / "table.bin").write_bytes(os.urandom(LARGE))
    packs = [project.pack()]
    (project.path / "values.txt").write_text("2\n")
    packs.append(project.pack())

    stored = files(project.remote)
    assert packs[0].id != packs[1].id
    assert [path for path, content in stored.items() if len(content) >= LARGE] == [
        str(project.remote / "airflow" / "code" / "large" / packs[0].pack.files["table.bin"].sha256)
    ]
    for packed in packs:
        assert in_workspace(project.packed_run(packed))["table.bin"] == (project.path / "table.bin").read_bytes()


def test_bytes_modes_links_and_empty_folders_arrive(project, tmp_path):
    (project.path / "make.sh").chmod(0o755)
    (project.path / "big").write_bytes(b"x" * LARGE)
    (project.path / "big").chmod(0o755)
    (project.path / "sub" / "empty").mkdir(parents=True)
    (project.path / "sub" / "a.txt").write_text("a\n")
    (project.path / "to_file").symlink_to("sub/a.txt")
    (project.path / "to_folder").symlink_to("sub")
    (project.path / "to_elsewhere").symlink_to(tmp_path / "remote")
    (project.path / os.fsdecode(b"latin-\xe9")).write_text("e\n")
    run = project.packed_run(project.pack())
    shutil.rmtree(project.path)
    project.path.mkdir()

    with run.workspace({}) as workspace:
        assert (workspace.path / "make.sh").stat().st_mode & 0o111
        assert (workspace.path / "big").stat().st_mode & 0o100
        assert not (workspace.path / "values.txt").stat().st_mode & 0o111
        assert (workspace.path / "sub" / "empty").is_dir()
        assert (workspace.path / "to_file").read_text() == "a\n"
        assert (workspace.path / "to_folder" / "a.txt").resolve() == (workspace.path / "sub" / "a.txt").resolve()
        assert (workspace.path / "to_elsewhere").resolve() == (tmp_path / "remote").resolve()
        assert (workspace.path / os.fsdecode(b"latin-\xe9")).read_text() == "e\n"


@pytest.mark.parametrize("damage", ["truncated", "another byte", "gone", "not an archive"])
@pytest.mark.parametrize("suffix", ["zip", "json"])
def test_a_pack_that_is_damaged_in_the_cache_is_taken_from_the_remote_and_healed(project, damage, suffix):
    packed = project.pack()
    file = project.cache / "airflow" / "code" / f"{packed.id}.{suffix}"
    content = file.read_bytes()
    if damage == "gone":
        file.unlink()
    else:
        middle = len(content) // 2
        changed = content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]
        file.write_bytes({"truncated": content[:middle], "another byte": changed}.get(damage, b"nothing"))

    assert in_workspace(project.packed_run(packed))["values.txt"] == b"1\n"
    assert file.read_bytes() == content


def test_a_large_file_that_is_damaged_in_the_cache_is_taken_from_the_remote(project):
    (project.path / "table.bin").write_bytes(b"1" * LARGE)
    packed = project.pack()
    (file,) = (project.cache / "airflow" / "code" / "large").iterdir()
    file.write_bytes(b"2" * LARGE)

    assert in_workspace(project.packed_run(packed))["table.bin"] == b"1" * LARGE


@pytest.mark.parametrize("suffix", ["zip", "json"])
def test_a_pack_that_is_damaged_everywhere_is_refused_with_what_to_do(project, suffix):
    packed = project.pack()
    for folder in (project.cache, project.remote):
        (folder / "airflow" / "code" / f"{packed.id}.{suffix}").write_bytes(b"nothing")

    with pytest.raises(CodeError, match=r"is damaged or missing, in the cache and in the remote\. Start a new run"):
        in_workspace(project.packed_run(packed))


@pytest.mark.parametrize("suffix", ["zip", "json"])
@pytest.mark.parametrize("where", ["cache", "remote"])
def test_the_next_run_heals_what_the_cache_has_damaged_and_what_the_remote_lacks(project, where, suffix):
    packed = project.pack()
    files_of = {
        name: getattr(project, name) / "airflow" / "code" / f"{packed.id}.{suffix}" for name in ("cache", "remote")
    }
    files_of["cache"].write_bytes(b"nothing") if where == "cache" else files_of["remote"].unlink()

    project.pack()

    shutil.rmtree(project.cache if where == "remote" else project.remote)
    assert in_workspace(project.packed_run(packed))["values.txt"] == b"1\n"


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


def test_a_remote_of_the_run_stays_its_remote(project):
    packed = project.pack()
    config = project.path / ".dvc" / "config"
    config.write_text(config.read_text().replace(str(project.remote), "/another"))

    assert project.packed_run(packed).dvc_config().of_remote()["url"] == str(project.remote)


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


def test_a_stage_that_the_run_does_not_know_is_refused(project):
    run = project.packed_run(project.pack())

    with pytest.raises(CodeError, match="the project had no stage added when this run was prepared"):
        project.stage(run, "added")


def test_a_stage_that_came_after_another_then_is_refused(project):
    two = f"{DVC_YAML}  use:\n    cmd: cat made.txt > used.txt\n    deps: [made.txt]\n    outs: [used.txt]\n"
    (project.path / "dvc.yaml").write_text(two)
    run = project.packed_run(project.pack())

    with pytest.raises(CodeError, match=r"stage use came after make; by dvc\.yaml as it is now it does not"):
        project.stage(run, "use")


def test_a_file_that_was_added_later_is_said_to_be_so(project):
    (project.path / "make.sh").write_text("cat added.txt\n")
    run = project.packed_run(project.pack())
    (project.path / "added.txt").write_text("x\n")

    with pytest.raises(CommandError, match=r"the project has added\.txt now, but had not when this run was prepared"):
        project.stage(run).run()


@pytest.mark.parametrize("pack", ["", "../../x", "A" * 64, "a" * 63])
def test_an_id_that_is_none_is_refused(project, pack):
    with pytest.raises(CodeError, match="is not the id of a pack"):
        CodeStore(project.run()).load(pack, None)


@pytest.mark.parametrize(("version", "known"), [("3f2a", "3f2a"), (None, None)])
def test_the_version_of_the_bundle_is_known_where_it_has_one(version, known):
    bundle = SimpleNamespace(version=version)

    assert bundle_version({"ti": SimpleNamespace(bundle_instance=bundle)}) == known
    assert bundle_version({"ti": SimpleNamespace()}) is None


def test_the_memo_knows_a_result_of_the_same_code_without_reading_a_file(project):
    (project.path / "values.txt").write_text("memo\n")
    packed = project.pack()
    first = project.stage(project.packed_run(packed)).run()
    (project.cache / "airflow" / "code" / f"{packed.id}.zip").unlink()
    shutil.rmtree(project.remote)

    second = project.stage(project.packed_run(packed, project.run("second"))).run()

    assert (first.outcome, second.outcome) == ("executed", "unchanged")


def test_a_frozen_stage_has_the_result_that_its_lock_file_had(project):
    (project.path / "dvc.yaml").write_text(DVC_YAML)
    made = project.stage(project.packed_run(project.pack())).run()
    frozen = DVC_YAML + "    frozen: true\n"
    (project.path / "dvc.yaml").write_text(frozen)
    lock = json.dumps({"schema": "2.0", "stages": {"make": dict(made.entry)}})
    (project.path / "dvc.lock").write_text(lock)
    run = project.packed_run(project.pack())
    (project.path / "dvc.lock").unlink()

    result = project.stage(run).run()

    assert result.entry == made.entry
    assert result.reason.startswith("frozen in dvc.yaml")


def test_git_reads_the_commit_of_the_run_where_the_checkout_has_it(project):
    (project.path / "make.sh").write_text("git rev-parse HEAD; git status --porcelain --untracked-files=no\n")
    commit = project.commit("Git is read")
    packed = project.pack()
    (project.path / "values.txt").write_text("2\n")
    project.commit("Another")

    result = project.stage(project.packed_run(packed)).run()

    assert project.made(result) == f"{commit}\n"


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
