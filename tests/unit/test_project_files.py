"""Which files a workspace gets: what a clone holds, whatever an ignore rule says, and what a stage declares."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from dvc_airflow.project_files import LIST, ignored_by, project_content, project_files, tracked_files, write_list
from tests.support.strangers import WITH_PLUGINS, run_git


@pytest.fixture
def checkout(tmp_path):
    """Makes a git checkout: first what git tracks, whatever a rule says, then what it does not."""

    def make(tracked: dict[str, str], untracked: dict[str, str] | None = None) -> Path:
        folder = tmp_path / "checkout"
        write(folder, tracked)
        run_git(folder, "init", "--quiet")
        run_git(folder, "add", "--all", "--force")
        run_git(folder, "commit", "--quiet", "--message", "as it is")
        write(folder, untracked or {})
        return folder

    return make


def write(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


def test_what_git_tracks_is_there_whatever_a_rule_says_and_what_it_ignores_is_not(checkout):
    folder = checkout(
        {".gitignore": "data/\n*.csv\n", "src/data/load.py": "", "codes.csv": "", "a.py": ""},
        {"src/data/new.py": "", "big.csv": "", "data/x": "", "new.py": ""},
    )

    assert project_files(folder) == (".gitignore", "a.py", "codes.csv", "new.py", "src/data/load.py")


def test_what_was_removed_but_not_committed_is_not_there(checkout):
    folder = checkout({"a.py": "", "b.py": ""})
    (folder / "b.py").unlink()

    assert project_files(folder) == ("a.py",)


def test_the_deepest_ignore_file_decides_as_in_git(checkout):
    folder = checkout(
        {".gitignore": "*.csv\n!top.csv\n", "sub/.gitignore": "!kept.csv\nown.txt\n"},
        {"top.csv": "", "x.csv": "", "sub/kept.csv": "", "sub/x.csv": "", "sub/own.txt": "", "own.txt": ""},
    )
    by_git = run_git(folder, "ls-files", "--others", "--exclude-standard").split()

    assert sorted(by_git) == ["own.txt", "sub/kept.csv", "top.csv"]
    assert set(project_files(folder)) == {".gitignore", "sub/.gitignore", *by_git}


def test_a_project_in_a_part_of_a_checkout_has_the_rules_of_the_folders_above(checkout):
    folder = checkout(
        {".gitignore": "/part/venv/\n*.log\n", "part/dvc.yaml": "", "part/kept.log": "", "other/x.py": ""},
        {"part/venv/x.py": "", "part/x.log": "", "part/new.py": ""},
    )
    (folder / ".git" / "info" / "exclude").write_text("/part/mine.txt\n")
    write(folder, {"part/mine.txt": ""})

    assert project_files(folder / "part") == ("dvc.yaml", "kept.log", "new.py")
    assert ignored_by(folder / "part", "x.log") == "../.gitignore:2"
    assert ignored_by(folder / "part", "venv/x.py") == "../.gitignore:1"
    assert ignored_by(folder / "part", "mine.txt") == ".git/info/exclude:1"


def test_a_folder_of_somebody_elses_checkout_has_no_rules_from_there(checkout):
    folder = checkout({".gitignore": "build/\n"}, {"build/project/dvc.yaml": "", "build/project/a.py": ""})

    assert project_files(folder / "build" / "project") == ("a.py", "dvc.yaml")


def test_a_worktree_knows_what_it_tracks(checkout, tmp_path):
    folder = checkout({".gitignore": "*.csv\n", "codes.csv": ""})
    run_git(folder, "worktree", "add", "--quiet", str(tmp_path / "tree"))

    assert project_files(tmp_path / "tree") == (".gitignore", "codes.csv")


def test_dvcignore_hides_nothing_from_a_command(checkout):
    folder = checkout({".dvcignore": "*.md\n", "notes.md": ""}, {"new.md": ""})

    assert project_files(folder) == (".dvcignore", "new.md", "notes.md")


def test_folders_that_hold_nothing_but_what_is_left_out_are_there(checkout):
    folder = checkout(
        {".gitignore": "models/\n*.log\n/venv/\n", "models/.gitkeep": ""},
        {"logs/x.log": "", "cache/.gitignore": "*\n", "venv/x": "", "plots/.gitkeep": ""},
    )
    (folder / "empty" / "deep").mkdir(parents=True)
    content = project_content(folder)

    assert content.files == (".gitignore", "models/.gitkeep", "plots/.gitkeep")
    assert content.folders == ("cache", "empty/deep", "logs", "models")


def test_without_git_a_list_says_what_git_tracked(checkout, tmp_path):
    folder = checkout({".gitignore": "*.csv\n", "codes.csv": "", "gone.csv": "", ".dvc/config": ""})
    image = tmp_path / "image"

    command = [sys.executable, "-m", "dvc_airflow", "list-files", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, env=WITH_PLUGINS)
    subprocess.run(["cp", "-r", str(folder), str(image)], check=True)
    for path in (image / "gone.csv", *sorted((image / ".git").rglob("*"), reverse=True), image / ".git"):
        path.rmdir() if path.is_dir() else path.unlink()

    assert done.returncode == 0, done.stderr
    assert done.stdout == f"wrote {folder / LIST}\n"
    assert project_files(image) == (".gitignore", "codes.csv")
    assert tracked_files(image) == tracked_files(folder)


def test_the_list_is_made_in_a_checkout_only(tmp_path):
    with pytest.raises(ValueError, match=r"is not in a git checkout\. Make the list where the project is one"):
        write_list(tmp_path)


def test_what_a_stage_declares_is_there_even_if_git_ignores_it(checkout):
    folder = checkout(
        {".gitignore": "/data/*\n!/data/.gitkeep\n.env\n", "data/.gitkeep": ""},
        {
            "data/in.csv": "",
            "data/deep/x.csv": "",
            "data/made.csv": "",
            "data/__pycache__/x.pyc": "",
            ".env": "",
            "b": "",
        },
    )

    assert project_files(folder) == (".gitignore", "b", "data/.gitkeep")
    declared = project_content(folder, ["data", ".env"], {"data/made.csv"}).files
    assert set(declared) - set(project_files(folder)) == {"data/in.csv", "data/deep/x.csv", ".env"}


def test_variables_of_the_templating_are_there_even_if_git_ignores_them(checkout):
    text = "vars: [mine.yaml:a]\nstages: {s: {foreach: [1], do: {vars: [deep.json], cmd: x}}}\n"
    folder = checkout(
        {".gitignore": "mine.yaml\ndeep.json\n*.txt\n", "dvc.yaml": text},
        {"mine.yaml": "", "deep.json": "", "x.txt": ""},
    )

    assert project_files(folder) == (".gitignore", "deep.json", "dvc.yaml", "mine.yaml")


def test_what_is_no_file_is_not_there(checkout):
    folder = checkout({"a.py": ""})
    (folder / "broken").symlink_to("nowhere")
    os.mkfifo(folder / "pipe")
    with socket.socket(socket.AF_UNIX) as server:
        before = Path.cwd()
        os.chdir(folder)  # the path of a socket is bounded
        try:
            server.bind("socket")
        finally:
            os.chdir(before)
        found = project_content(folder, ["broken", "pipe", "socket", "none"])

    assert found.files == ("a.py",)


def test_a_link_to_a_folder_outside_is_kept_and_not_followed(checkout, tmp_path):
    outside = tmp_path / "outside"
    write(outside, {"x.txt": ""})
    folder = checkout({"a.py": "", "was/x.txt": ""})
    (folder / "linked").symlink_to(outside)
    (folder / "was" / "x.txt").unlink()
    (folder / "was").rmdir()
    (folder / "was").symlink_to(outside)

    assert project_files(folder) == ("a.py", "linked", "was")
    assert project_content(folder, ["linked", "linked/x.txt"]).files == ("a.py", "linked", "was")


def test_behind_a_link_into_the_project_are_the_files_that_it_leads_to(checkout):
    folder = checkout({".gitignore": "/raw\n", "a.py": ""}, {"raw/x.txt": "", "raw/deep/y.txt": ""})
    (folder / "data").symlink_to("raw")
    (folder / "raw" / "round").symlink_to(".")

    assert project_content(folder, ["data/x.txt"]).files == (".gitignore", "a.py", "data", "raw/x.txt")
    whole = (".gitignore", "a.py", "data", "raw/deep/y.txt", "raw/round", "raw/x.txt")
    assert project_content(folder, ["data"]).files == whole


@pytest.mark.parametrize("text", ["vars: [1]\nd: 2024-13-45\n", "vars: &a [*a]\n", "vars: [\n"])
def test_a_dvc_yaml_that_cannot_be_read_here_is_left_to_dvc(checkout, text):
    assert project_files(checkout({"dvc.yaml": text})) == ("dvc.yaml",)


def test_the_mark_that_some_editors_write_first_is_no_part_of_a_rule(checkout):
    folder = checkout({".gitignore": "\ufeff/secret.env\n"}, {"secret.env": ""})

    assert project_files(folder) == (".gitignore",)


@pytest.mark.parametrize("path", ["a.csv", "data/x", "data"])
def test_the_rule_that_ignores_a_path_is_named(checkout, path):
    folder = checkout({".gitignore": "# tables\n\n*.csv\ndata/\n"}, {"a.csv": "", "data/x": ""})

    assert ignored_by(folder, path) == (".gitignore:3" if path == "a.csv" else ".gitignore:4")
    assert ignored_by(folder, "other") is None
