"""The results of a run come back into a checkout, as DVC has them, and nothing edited by hand is lost."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from dvc_airflow.errors import TaskError
from dvc_airflow.lockfile import read_stages
from dvc_airflow.pull import pull
from tests.support.strangers import WITH_PLUGINS, Stranger, dvc, run_git

TEXT = """
stages:
  prepare: {cmd: mkdir -p data && cp in.txt data/a && cp in.txt data/b, deps: [in.txt], params: [weights], outs: [data]}
  grade: {cmd: "wc -c < data/a > grade.json", deps: [data], metrics: [grade.json: {cache: false}]}
  local: {cmd: cp in.txt local.txt, deps: [in.txt], outs: [local.txt: {push: false}]}
"""
PARAMS = "weights: {0: 1.0, 1: 5.0}\n"  # JSON has no numbers as keys
NESTED = "stages: {last: {cmd: cp ../grade.json last.txt, deps: [../grade.json], outs: [last.txt]}}\n"


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """A project with a run of DAG one, and the user's own clone of it."""
    folder = tmp_path_factory.mktemp("made")
    remote = "[core]\n    analytics = false\n    remote = r\n['remote \"r\"']\n    url = ../../remote\n"
    files = {".dvc/config": remote, ".gitignore": "/data\n/grade.json\n/local.txt\n", "sub/.gitignore": "/last.txt\n"}
    stranger = Stranger(
        folder, {"dvc.yaml": TEXT, "sub/dvc.yaml": NESTED, "in.txt": "one\n", "params.yaml": PARAMS, **files}
    )
    stranger.run(dag_id="one", push=True)
    run_git(folder, "clone", "--quiet", str(stranger.path), str(folder / "clone"))
    return folder


@pytest.fixture
def stranger(made, tmp_path):
    shutil.copytree(made, tmp_path / "copy", symlinks=True)
    return Stranger(tmp_path / "copy")


@pytest.fixture
def clone(stranger):
    return stranger.path.with_name("clone")


def another_run(stranger: Stranger, dag_id: str = "one") -> None:
    stranger.write({"in.txt": "three\n"})
    stranger.run(dag_id=dag_id, push=True)
    stranger.write({"in.txt": "one\n"})


def command(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "dvc_airflow", "pull", *arguments], capture_output=True, text=True, env=WITH_PLUGINS
    )


def test_a_clone_gets_the_last_good_run_and_dvc_knows_it(stranger, clone):
    done = command(str(clone))

    assert done.returncode == 0, done.stderr
    assert "of DAG one, pushed at" in done.stdout
    assert (clone / "data" / "b").read_text() == "one\n"
    assert (clone / "grade.json").read_text() == (clone / "sub" / "last.txt").read_text() == "4\n"
    assert not (clone / "local.txt").exists()  # push: false: it never left the worker
    assert json.loads(dvc(clone, "metrics", "show", "--json"))[""]["data"]["grade.json"]["data"] == 4
    assert dvc(clone, "status", "prepare", "grade", "sub/dvc.yaml:last").endswith("up to date.\n")
    assert "was here already" in command(str(clone)).stdout


def test_the_files_are_those_of_plain_dvc(stranger, clone):
    pull(clone)

    dvc(stranger.path, "repro", "--all-pipelines")
    for name in ("data/a", "data/b", "grade.json", "sub/last.txt"):
        assert (clone / name).read_bytes() == (stranger.path / name).read_bytes()
    by_us, by_dvc = ({**read_stages(folder / "dvc.lock")} for folder in (clone, stranger.path))
    assert by_us == by_dvc


def test_a_run_or_a_dag_can_be_named(stranger, clone):
    first = pull(clone).run
    another_run(stranger, "other")

    assert pull(clone).run.dag_id == "other"
    assert (clone / "grade.json").read_text() == "6\n"
    assert pull(clone, dag_id="one").run == first
    assert (clone / "grade.json").read_text() == "4\n"
    assert pull(clone, run_id=first.run_id).run == first


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--run", "none"], r"has no run none\. The last ones by name: [0-9a-f]{32}\."),
        (["--dag", "none"], "has no run of DAG none; there are runs of one."),
        (["--remote", "none"], "none"),
    ],
)
def test_what_there_is_not_is_said_with_what_there_is(stranger, clone, options, said):
    done = command(str(clone), *options)

    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert len(done.stderr.splitlines()) == 1
    with pytest.raises(AssertionError if not said else TaskError, match=said):
        pull(clone, **{name.strip("-") + ("_id" if name != "--remote" else ""): value for name, value in [options]})


def test_a_remote_without_a_run_says_how_one_comes_there(stranger, clone):
    for path in sorted((stranger.remote / "airflow").rglob("*"), reverse=True):
        path.unlink() if path.is_file() else path.rmdir()

    with pytest.raises(TaskError, match=f"the remote {stranger.remote} has no run yet: DvcPushOperator leaves"):
        pull(clone)

    stranger.remote.rename(stranger.remote.with_name("away"))
    with pytest.raises(TaskError, match=r"has no run yet \(the folder does not exist: .* not mounted\): DvcPush"):
        pull(clone)


@pytest.mark.parametrize("edited", ["data/a", "grade.json", "dvc.lock", "sub/dvc.lock", "data/new"])
def test_nothing_edited_by_hand_is_overwritten_and_nothing_else_either(stranger, clone, edited):
    pull(clone)
    another_run(stranger)
    text = (clone / edited).read_text() + "# mine\n" if (clone / edited).exists() else "mine\n"
    (clone / edited).chmod(0o644) if (clone / edited).exists() else None
    (clone / edited).write_text(text)
    before = {path: path.read_bytes() for path in clone.rglob("*") if path.is_file() and ".dvc" not in path.parts}

    named = "data" if edited.startswith("data") else edited
    with pytest.raises(TaskError, match=rf"^{named}: would be overwritten, and neither git nor DVC's cache has"):
        pull(clone)

    after = {path: path.read_bytes() for path in clone.rglob("*") if path.is_file() and ".dvc" not in path.parts}
    assert after == before


def test_what_is_committed_or_of_an_earlier_result_may_be_replaced(stranger, clone):
    pull(clone)
    run_git(clone, "add", "--force", "dvc.lock", "sub/dvc.lock", "grade.json")
    run_git(clone, "commit", "--quiet", "--message", "results")
    (clone / ".dvc" / "tmp" / "airflow-pull.json").unlink()
    another_run(stranger)

    assert set(pull(clone).outputs) == {"data", "grade.json", "sub/last.txt"}
    assert (clone / "data" / "a").read_text() == "three\n"


def test_entries_of_other_stages_stay(stranger, clone):
    lock = "schema: '2.0'\nstages:\n  mine:\n    cmd: echo\n"
    (clone / "dvc.lock").write_text(lock)
    run_git(clone, "add", "dvc.lock")

    pull(clone)

    assert set(read_stages(clone / "dvc.lock")) == {"mine", "prepare", "grade", "local"}


def test_a_folder_that_is_no_project_is_refused_with_the_project_in_it(tmp_path):
    (tmp_path / "project" / ".dvc").mkdir(parents=True)
    done = command(str(tmp_path))

    assert done.returncode == 1
    said = f"{tmp_path}: no .dvc there, so it is not the root of a DVC project. There is one in {tmp_path}/project."
    assert done.stderr == f"error: {said}\n"


def test_of_a_run_whose_objects_are_not_there_it_says_when_the_push_began_and_what_to_do(stranger, clone):
    shutil.rmtree(stranger.remote / "files")

    with pytest.raises(
        TaskError, match=r"corrupted there\. The push of run [0-9a-f]{32} began at .*\. .* run the DAG again: what"
    ):
        pull(clone)


def test_a_run_of_another_project_in_the_same_remote_is_not_taken_for_ours(stranger, clone, tmp_path):
    (tmp_path / "other").mkdir()
    other = Stranger(
        tmp_path / "other", {"dvc.yaml": "stages: {prepare: {cmd: echo x > x, outs: [x]}, own: {cmd: 'true'}}\n"}
    )
    other.remote = stranger.remote
    other.run(dag_id="theirs", push=True)

    assert pull(clone).run.dag_id == "one"
    for path in (stranger.remote / "airflow" / "last_run").iterdir():
        path.unlink() if path.name == "one" else None
    with pytest.raises(TaskError, match=r"has no run of this project; there are runs of theirs\."):
        pull(clone)


def test_an_output_of_a_committed_lock_that_nobody_else_has_is_not_lost(stranger, clone):
    """As after `dvc repro --no-commit`, or with the cache gone."""
    pull(clone)
    run_git(clone, "add", "--force", "dvc.lock", "sub/dvc.lock")
    run_git(clone, "commit", "--quiet", "--message", "locks")
    shutil.rmtree(clone / ".dvc" / "cache")
    another_run(stranger)

    with pytest.raises(TaskError, match=r"^data, grade\.json, sub/last\.txt: would be overwritten"):
        pull(clone)


def test_an_uncached_metric_is_a_file_of_its_own_whatever_the_cache_links(stranger, clone):
    dvc(clone, "config", "--local", "cache.type", "symlink")

    pull(clone)

    assert not (clone / "grade.json").is_symlink()
    assert (clone / "data" / "a").is_symlink()


def test_a_relative_path_is_a_checkout_too(stranger, clone, monkeypatch):
    monkeypatch.chdir(clone.parent)

    pull(Path(clone.name))

    assert set(read_stages(clone / "dvc.lock")) == {"prepare", "grade", "local"}
    assert not (clone / clone.name).exists()


def test_git_ignores_what_dvc_tracks_as_after_repro(stranger, clone):
    (clone / ".gitignore").write_text("/mine\n")
    (clone / "sub" / ".gitignore").unlink()

    pull(clone)

    assert (clone / ".gitignore").read_text() == "/mine\n/data\n"
    assert (clone / "sub" / ".gitignore").read_text() == "/last.txt\n"
    new = run_git(clone, "status", "--porcelain", "--untracked-files=all").splitlines()
    assert {line for line in new if line.startswith("??")} == {"?? dvc.lock", "?? sub/dvc.lock", "?? grade.json"}
