"""The code of a run: packed once, kept in cache and remote, the same in all tasks whatever becomes of the project."""

import json
import os
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from dvc_airflow.code_pack import LARGE
from dvc_airflow.code_store import CodeStore
from dvc_airflow.errors import CodeError
from dvc_airflow.failure import CommandError
from dvc_airflow.prepare import bundle_version
from tests.support.code_project import DVC_YAML, Project, files, in_workspace

LONG_AGO = 1_000_000_000  # seconds since the epoch; a file written since has another time, though not another inode


@pytest.fixture
def project(tmp_path, monkeypatch):
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    return Project(tmp_path)


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
    for path in files(project.remote):
        os.utime(path, (LONG_AGO, LONG_AGO))
    cached = {path: Path(path).stat().st_ino for path in files(project.cache)}

    second = project.pack()

    written = {path for path in files(project.remote) if Path(path).stat().st_mtime != LONG_AGO}
    assert first.id == second.id
    assert written == {str(project.remote / "airflow" / "code" / f"{first.id}.json")}  # it says that the code is in use
    # Those of the cache have a new time for the same reason, but are the same files.
    assert {path: Path(path).stat().st_ino for path in files(project.cache)} == cached


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


def test_a_remote_of_the_run_stays_its_remote(project):
    packed = project.pack()
    config = project.path / ".dvc" / "config"
    config.write_text(config.read_text().replace(str(project.remote), "/another"))

    assert project.packed_run(packed).dvc_config().of_remote()["url"] == str(project.remote)


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
