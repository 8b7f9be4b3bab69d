"""A stage reads git's history as in the checkout, and writes nothing there."""

from pathlib import Path

import pytest

from dvc_airflow.git_checkout import git_checkout_of
from tests.support.strangers import Stranger, run_git

STAMP = "stages: {stamp: {cmd: 'git describe --tags > v.txt && git rev-parse HEAD >> v.txt', outs: [v.txt]}}\n"


def state(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def stranger(tmp_path):
    made = Stranger(
        tmp_path,
        {
            "dvc.yaml": STAMP,
            "dvc.lock": "schema: '2.0'\nstages: {}\n",
            "a.py": "",
        },
    )
    run_git(made.path, "tag", "v1.2")
    run_git(made.path, "remote", "add", "origin", "https://user:hunter2@localhost/x.git")
    return made


def test_a_stage_reads_the_commit_and_its_tags(stranger):
    before = state(stranger.path)

    (result,) = stranger.run().values()

    oid = result.entry["outs"][0]["md5"]
    said = (stranger.cache / "files" / "md5" / oid[:2] / oid[2:]).read_text()
    assert said == f"v1.2\n{run_git(stranger.path, 'rev-parse', 'HEAD')}"
    assert state(stranger.path) == before


def test_what_git_does_in_a_workspace_stays_there(stranger):
    before = state(stranger.path)

    with stranger.project_run().workspace({"dvc.lock": {"before": {"cmd": "x"}}}) as workspace:
        git_checkout_of(stranger.path).lend(workspace.path, stranger.path)
        clean = run_git(workspace.path, "status", "--porcelain", "--untracked-files=no")
        (workspace.path / "a.py").write_text("changed\n")
        changed = run_git(workspace.path, "status", "--porcelain", "--untracked-files=no")
        run_git(workspace.path, "commit", "--all", "--quiet", "--message", "in the workspace")
        run_git(workspace.path, "tag", "v2")
        remotes = run_git(workspace.path, "remote", "-v")
        history = run_git(workspace.path, "log", "--format=%s").splitlines()

    assert (clean, changed) == ("", " M a.py\n")
    assert history == ["in the workspace", "As it is"]
    assert remotes == ""  # their addresses may hold secrets
    assert state(stranger.path) == before


def test_a_worktree_lends_its_own_head(stranger, tmp_path):
    run_git(stranger.path, "worktree", "add", "--quiet", "-b", "other", str(tmp_path / "tree"))
    run_git(tmp_path / "tree", "commit", "--allow-empty", "--quiet", "--message", "on the other branch")
    (tmp_path / "workspace").mkdir()

    git_checkout_of(tmp_path / "tree").lend(tmp_path / "workspace", tmp_path / "tree")

    assert run_git(tmp_path / "workspace", "log", "-1", "--format=%s") == "on the other branch\n"


@pytest.mark.parametrize("kind", ["no git", "nothing committed", "broken", "unknown extension"])
def test_where_there_is_no_checkout_there_is_none(tmp_path, kind):
    if kind == "nothing committed":
        run_git(tmp_path, "init", "--quiet")
    if kind == "unknown extension":
        run_git(tmp_path, "init", "--quiet")
        (tmp_path / "b.py").touch()
        run_git(tmp_path, "add", "b.py")
        run_git(tmp_path, "config", "core.repositoryformatversion", "1")
        run_git(tmp_path, "config", "extensions.none", "true")
    if kind == "broken":
        (tmp_path / ".git").write_text("gitdir: /nowhere\n")
    (tmp_path / "a.py").touch()

    assert git_checkout_of(tmp_path) is None
