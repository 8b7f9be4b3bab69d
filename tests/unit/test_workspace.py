"""Workspaces: what is in them, and that they go."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from dvc_airflow.errors import WorkspaceError
from dvc_airflow.lockfile import merge_locks
from dvc_airflow.workspace import OWNER, YOUNG_SECONDS, Workspace

PLUGINS = str(Path(__file__).parents[2] / "plugins")


@pytest.fixture
def code(tmp_path):
    folder = tmp_path / "project"
    (folder / "pkg").mkdir(parents=True)
    (folder / "dvc.yaml").write_text("stages: {}\n")
    (folder / "dvc.lock").write_text("stale\n")
    (folder / "pkg" / "a.py").write_text("a\n")
    (folder / "config.yaml").write_text("C: 1\n")
    return folder


def files(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


def test_a_workspace_has_the_code_the_given_files_and_the_given_lock_only(code):
    lock = {"dvc.lock": {"one": {"cmd": "x", "outs": [{"path": "o", "md5": "1"}]}}}

    with Workspace(code, files={"config.yaml": "C: 2\n"}, lock=lock) as workspace:
        found = files(workspace.path)

    assert found["pkg/a.py"] == "a\n"
    assert found["config.yaml"] == "C: 2\n"
    assert "stale" not in found["dvc.lock"]
    assert "md5: '1'" in found["dvc.lock"]
    assert set(found) == {"dvc.yaml", "dvc.lock", "pkg/a.py", "config.yaml", ".dvc/config", ".dvc/owner"}
    assert files(code)["config.yaml"] == "C: 1\n"


def test_a_workspace_is_gone_afterwards_also_after_an_error(code):
    with Workspace(code) as first:
        assert first.path.is_dir()
    with pytest.raises(KeyError), Workspace(code) as second:
        raise KeyError

    assert not first.path.exists()
    assert not second.path.exists()


@pytest.mark.parametrize("name", ["/etc/x", "../x", "a/../../x"])
def test_a_file_outside_the_workspace_is_refused(code, name):
    with pytest.raises(WorkspaceError, match="only paths inside the project"), Workspace(code, files={name: ""}):
        pass


def test_a_remote_address_cannot_smuggle_options_into_dvcs_configuration(code):
    hostile = "s3://b/p\n[core]\n    autostage = true"

    with pytest.raises(WorkspaceError, match="one line of text"), Workspace(code, remote_url=hostile):
        pass


def test_locks_of_several_stages_are_put_together():
    assert merge_locks([{"dvc.lock": {"a": {"cmd": "1"}}}, {"dvc.lock": {"b": {"cmd": "2"}}, "sub/dvc.lock": {}}]) == {
        "dvc.lock": {"a": {"cmd": "1"}, "b": {"cmd": "2"}},
        "sub/dvc.lock": {},
    }


def test_a_full_disk_is_named_with_the_folder_and_the_remedy(code, tmp_path):
    """On a real file system of 64 KiB, in a mount namespace of its own."""
    (code / "large.txt").write_text("x" * 200_000)
    small = tmp_path / "small"
    small.mkdir()
    script = (
        "from pathlib import Path; from dvc_airflow.workspace import OWNER, YOUNG_SECONDS, Workspace, WorkspaceError\n"
        "try:\n"
        f"    with Workspace(Path({str(code)!r})): print('made')\n"
        "except WorkspaceError as error:\n"
        "    print(error)\n"
        f"print(len(list(Path({str(small)!r}).iterdir())), 'left')\n"
    )
    mount = f'mount -t tmpfs -o size=64k tmpfs {small} && exec {sys.executable} -c "$SCRIPT"'
    done = subprocess.run(
        [shutil.which("unshare") or "unshare", "--map-root-user", "--mount", "sh", "-c", mount],
        env={"SCRIPT": script, "TMPDIR": str(small), "PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "PYTHONPATH": PLUGINS},
        capture_output=True,
        text=True,
    )  # fmt: skip

    assert done.stderr == ""
    message, left = done.stdout.splitlines()
    assert message.startswith(f"cannot make a workspace in {small}: No space left on device. Free some space there")
    assert left == "0 left"


def test_a_link_to_a_folder_stays_a_link_to_where_it_led(code, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "x").write_text("x")
    (code / "linked").symlink_to("../elsewhere")

    with Workspace(code) as workspace:
        assert (workspace.path / "linked").is_symlink()
        assert (workspace.path / "linked" / "x").read_text() == "x"


def test_the_projects_own_dvc_configuration_counts_but_for_its_place_and_its_secrets(code, tmp_path):
    (code / ".dvc").mkdir()
    (code / ".dvc" / "config").write_text(
        "[core]\n    remote = origin\n    autostage = true\n[cache]\n    dir = /somewhere\n    type = hardlink,copy\n"
        "['remote \"origin\"']\n    url = ../../mirror\n['remote \"other\"']\n    url = s3://bucket/x\n"
    )
    (code / ".dvc" / "config.local").write_text("['remote \"other\"']\n    secret_access_key = hunter2\n")

    with Workspace(code, cache_dir=tmp_path / "cache") as workspace:
        text = (workspace.path / ".dvc" / "config").read_text()
        assert workspace.remote_name == "origin"
    with Workspace(code, remote_url="s3://mine/y") as workspace:
        own = (workspace.path / ".dvc" / "config").read_text()
        assert workspace.remote_name == "airflow"

    assert f"dir = {tmp_path / 'cache'}" in text
    assert "/somewhere" not in text
    assert "type = hardlink,copy" in text
    assert f"url = {tmp_path / 'mirror'}" in text
    assert "hunter2" not in text
    assert "url = s3://mine/y" in own


def test_what_a_dead_task_left_is_removed_and_what_runs_in_it_ended(code):
    script = (
        "import subprocess, sys; from pathlib import Path; from dvc_airflow.workspace import Workspace\n"
        f"workspace = Workspace(Path({str(code)!r})).__enter__()\n"
        "child = subprocess.Popen(['sleep', '600'], cwd=workspace.path, start_new_session=True, stdout=-3)\n"
        "print(workspace.path, child.pid, flush=True); sys.stdin.read()\n"
    )
    task = subprocess.Popen(
        [sys.executable, "-c", script],
        env={**os.environ, "PYTHONPATH": PLUGINS}, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    path, child = task.stdout.readline().split()
    old = time.time() - YOUNG_SECONDS - 1
    os.utime(Path(path) / OWNER, (old, old))
    orphan = psutil.Process(int(child))

    with Workspace(code):
        assert Path(path).exists()  # its task lives
    task.kill()
    task.communicate(timeout=30)
    with Workspace(code):
        pass

    assert not Path(path).exists()
    assert not orphan.is_running() or orphan.status() == psutil.STATUS_ZOMBIE
