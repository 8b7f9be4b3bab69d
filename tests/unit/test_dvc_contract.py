"""What `dvc_airflow.stage_cache` relies on in DVC's internals, with a real DVC project and a folder as the remote."""

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from dvc_airflow.stage_cache import StageCache, missing_in_remote, open_repo, push_again, push_run_cache
from dvc_airflow.workspace import Workspace

DVC_YAML = """
stages:
  make:
    cmd: mkdir -p out && echo 1 > out/one && echo 2 > out/two && cp seed.txt out/seed
    deps: [seed.txt]
    outs: [out]
  use:
    cmd: cat out/one out/two out/seed > sum.txt
    deps: [out]
    params: [values.yaml: [factor]]
    outs: [sum.txt]
"""


class Lab:
    """A project, a shared cache, and a remote."""

    def __init__(self, folder: Path) -> None:
        self.project, self.cache, self.remote = folder / "project", folder / "cache", folder / "remote"
        for path in (self.project, self.cache, self.remote):
            path.mkdir()
        (self.project / "dvc.yaml").write_text(DVC_YAML)
        (self.project / "seed.txt").write_text("seed\n")
        (self.project / "values.yaml").write_text("factor: 1\n")

    def workspace(self, lock: dict | None = None, cache: Path | None = None) -> Workspace:
        return Workspace(self.project, lock=lock or {}, cache_dir=cache or self.cache, remote_url=str(self.remote))

    def run(self, stage: str, lock: dict | None = None) -> tuple[str, dict[str, Any]]:
        """As the operator does it: look the stage up, else run it. Returns what was done and the lock."""
        with self.workspace(lock) as workspace, open_repo(workspace) as repo:
            cache = StageCache(repo, stage)
            if found := cache.find():
                return "restored", {"dvc.lock": {stage: found}}
            cache.fetch_inputs()
            dvc(workspace.path, "repro", "--single-item", stage)
            entry = YAML(typ="safe").load((workspace.path / "dvc.lock").read_text())["stages"][stage]
            assert cache.differs(entry) == []
            return "executed", {"dvc.lock": {stage: entry}}


def dvc(folder: Path, *arguments: str) -> None:
    done = subprocess.run([sys.executable, "-m", "dvc", *arguments], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.fixture
def lab(tmp_path):
    return Lab(tmp_path)


@pytest.fixture
def ran(lab):
    """The lab after both stages ran, with their lock."""
    _, made = lab.run("make")
    _, used = lab.run("use", made)
    return {"dvc.lock": {**made["dvc.lock"], **used["dvc.lock"]}}


def test_a_stage_is_found_by_the_entries_before_it_without_any_data(lab, ran):
    assert lab.run("make") == ("restored", {"dvc.lock": {"make": ran["dvc.lock"]["make"]}})
    assert lab.run("use", ran) == ("restored", {"dvc.lock": {"use": ran["dvc.lock"]["use"]}})


@pytest.mark.parametrize(
    ("file", "text", "stage"),
    [("seed.txt", "other\n", "make"), ("values.yaml", "factor: 2\n", "use")],
)
def test_a_change_of_code_or_param_is_another_key(lab, ran, file, text, stage):
    (lab.project / file).write_text(text)

    assert lab.run(stage, ran)[0] == "executed"


def test_another_result_upstream_is_another_key(lab, ran):
    (lab.project / "seed.txt").write_text("other\n")
    _, made = lab.run("make")

    assert lab.run("use", made)[0] == "executed"


def test_left_overs_in_the_project_are_not_taken_for_the_output_of_the_stage_before(lab, ran):
    (lab.project / "out").mkdir()
    (lab.project / "out" / "one").write_text("stale\n")
    (lab.project / "values.yaml").write_text("factor: 3\n")

    outcome, lock = lab.run("use", ran)

    assert outcome == "executed"
    assert lock["dvc.lock"]["use"]["outs"] == ran["dvc.lock"]["use"]["outs"]


def test_a_result_whose_object_is_gone_is_not_restored(lab, ran):
    md5 = ran["dvc.lock"]["use"]["outs"][0]["md5"]
    (lab.cache / "files" / "md5" / md5[:2] / md5[2:]).unlink()

    assert lab.run("use", ran)[0] == "executed"


def test_an_empty_cache_restores_from_the_remote(lab, ran):
    with lab.workspace(ran) as workspace, open_repo(workspace) as repo:
        dvc(workspace.path, "push")
        assert push_run_cache(repo, ran["dvc.lock"].values()) == 2
    shutil.rmtree(lab.cache)

    assert lab.run("use", ran)[0] == "restored"
    with lab.workspace(ran) as workspace, open_repo(workspace) as repo:
        assert StageCache(repo, "use").stage.name == "use"


def test_a_file_of_a_folder_that_the_remote_lacks_is_named_and_healed(lab, ran):
    with lab.workspace(ran) as workspace, open_repo(workspace) as repo:
        dvc(workspace.path, "push")
        missing, count, size = missing_in_remote(repo)
        assert (missing, count) == ({}, 5)  # the list of the folder, its three files, the sum
        assert size > 0
        objects = [
            file for file in (lab.remote / "files" / "md5").rglob("*") if file.is_file() and file.suffix != ".dir"
        ]
        victim = next(file for file in objects if file.read_text() == "2\n")
        victim.chmod(0o644)
        victim.unlink()

        missing, *_ = missing_in_remote(repo)
        assert list(missing.values()) == ["out/two"]
        push_again(repo, list(missing))
        assert missing_in_remote(repo)[0] == {}
