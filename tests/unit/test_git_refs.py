"""What the commits of a checkout name: by git itself."""

import os
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from include.collection.git_refs import named_in_git
from include.errors import ConfigError

NAMES = {f"GIT_{role}_{what}": "a@b" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}


def git(folder: Path, *arguments: str) -> None:
    subprocess.run(["git", *arguments], cwd=folder, env={**os.environ, **NAMES}, check=True, capture_output=True)


def md5(digit: str) -> str:
    return digit * 32


def commit(folder: Path, name: str, text: str) -> None:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(text)
    git(folder, "add", "-f", name)
    git(folder, "commit", "-qm", name)


@pytest.fixture
def checkout(tmp_path) -> Path:
    git(tmp_path, "init", "-q", "-b", "main")
    return tmp_path


def test_all_refs_and_the_files_as_they_are_count(checkout):
    commit(checkout, "dvc.lock", f"stages:\n  a:\n    outs:\n    - path: x\n      md5: {md5('1')}\n")
    git(checkout, "tag", "-am", "old", "old")
    git(checkout, "tag", "-am", "a tag of it", "older", "old")
    git(checkout, "tag", "-d", "old")
    git(checkout, "checkout", "-q", "--orphan", "side")
    git(checkout, "branch", "-D", "main")  # only the tag of a tag names its file now
    commit(checkout, "dvc.lock", f"<<<<<<<\n  - {{md5: {md5('2')}.dir, path: x}}\n")
    commit(checkout, "sub dir/ü/dvc.lock", f'"md5": "{md5("3")}"\n')
    commit(checkout, "data.dvc", f"outs:\n- md5: {md5('4')}\n")
    commit(checkout, "notes.txt", f"md5: {md5('5')}\n")
    (checkout / "data.dvc").write_text(f"outs:\n- md5: {md5('6')}\n")
    git(checkout, "stash", "-q")
    (checkout / ".gitignore").write_text("ignored\n")
    (checkout / "ignored").mkdir()
    (checkout / "ignored" / "dvc.lock").write_text(f"md5: {md5('7')}\n")
    git(checkout, "tag", "-am", "a file", "file", "HEAD:notes.txt")
    git(checkout, "tag", "plain", "HEAD:notes.txt")
    git(checkout, "checkout", "-q", "--detach")

    expected = {md5("1"), f"{md5('2')}.dir", *map(md5, "3467")}
    assert named_in_git(checkout) == named_in_git(checkout / "sub dir") == expected


def test_a_fresh_checkout_names_what_lies_there_and_a_folder_without_git_nothing(checkout):
    (checkout / "dvc.lock").write_text(f"md5: {md5('a')}\n")

    assert named_in_git(checkout) == {md5("a")}
    with TemporaryDirectory(dir="/tmp") as plain:  # what pytest gives is in a checkout
        assert named_in_git(Path(plain)) is None


@pytest.mark.parametrize("damage", ["HEAD", "objects", "program"])
def test_git_that_fails_is_named(checkout, damage, monkeypatch):
    commit(checkout, "dvc.lock", f"md5: {md5('1')}\n")
    if damage == "HEAD":
        (checkout / ".git" / "HEAD").write_text("damaged")
    elif damage == "objects":
        for file in (checkout / ".git" / "objects").glob("??/*"):
            file.unlink()
    else:
        monkeypatch.setenv("PATH", "")

    with pytest.raises(ConfigError, match=r"git in .*: .*\. Repair the checkout, or call gc in another one\."):
        named_in_git(checkout)
