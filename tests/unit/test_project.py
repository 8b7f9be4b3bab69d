"""The files and task ids of a DVC project."""

from pathlib import Path

import pytest

from dvc_airflow.dvc.describe import task_ids
from dvc_airflow.project import DvcProjectError, load_project
from dvc_airflow.project_files import project_files


@pytest.fixture
def dvc_project(tmp_path):
    def make(**files: str) -> Path:
        for name, text in files.items():
            path = tmp_path / "project" / name.replace("__", "/").replace("_dot_", ".")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return tmp_path / "project"

    return make


def test_task_ids_are_readable_stable_and_different():
    assert task_ids(["t@a", "sub/dvc.yaml:t", "plain"]) == {"t@a": "t.a", "sub/dvc.yaml:t": "sub.t", "plain": "plain"}
    collided = task_ids(["sub@t", "sub/dvc.yaml:t", "plain"])
    assert collided["plain"] == "plain"
    assert len(set(collided.values())) == 3
    assert all(value.startswith("sub.t-") for name, value in collided.items() if name != "plain")
    assert collided == task_ids(["plain", "sub/dvc.yaml:t", "sub@t"])
    (long,) = task_ids(["t@" + "x" * 300]).values()
    assert len(long) <= 200


def test_a_link_to_a_folder_belongs_to_the_code(dvc_project, tmp_path):
    folder = dvc_project(dvc_dot_yaml="")
    (tmp_path / "elsewhere").mkdir()
    (folder / "linked").symlink_to(tmp_path / "elsewhere")

    assert sorted(project_files(folder)) == ["dvc.yaml", "linked"]


def test_a_folder_without_dvc_yaml_is_refused(tmp_path):
    with pytest.raises(DvcProjectError, match=r"no dvc\.yaml there"):
        load_project(tmp_path, tmp_path / "cache")


def test_of_a_folder_around_projects_or_in_one_those_are_named(tmp_path):
    project = tmp_path / "around" / "project"
    for folder in (".dvc", "sub"):
        (project / folder).mkdir(parents=True)
    (project / "dvc.yaml").write_text("stages:\n  a: {cmd: x}\n")

    for folder, said in (
        (project.parent, f"There is one in {project}."),
        (project / "sub", f"The DVC project that it is in is {project}."),
    ):
        with pytest.raises(DvcProjectError) as caught:
            load_project(folder, tmp_path / "cache")
        assert str(caught.value) == f"{folder}: no dvc.yaml there, so it is not the root of a DVC project. {said}"
    with pytest.raises(DvcProjectError, match=r"dvc\.yaml: this is a file\. Name the folder that it is in\."):
        load_project(project / "dvc.yaml", tmp_path / "cache")


def test_ignored_files_and_locks_are_no_part_of_the_code(dvc_project):
    folder = dvc_project(
        dvc_dot_yaml="", dvc_dot_lock="", a_dot_py="", data__x_dot_csv="", sub__b_dot_py="", sub__b_dot_pyc="",
        _dot_gitignore="/data/\n*.pyc\n", _dot_git__config="", _dot_dvc__config="",
    )  # fmt: skip

    assert sorted(project_files(folder)) == [".gitignore", "a.py", "dvc.yaml", "sub/b.py"]
