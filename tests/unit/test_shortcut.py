"""The shortcut finds a result only where everything is exactly as it was."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from dvc_airflow.objects import stamp_of
from dvc_airflow.shortcut import Known, Shortcut

LOCK = {"dvc.lock": {"before": {"outs": [{"path": "in", "md5": "1"}]}}}
DEFINITIONS = ["dvc.yaml", "params.yaml"]
READS = ["code.py", "src"]


@pytest.fixture
def lab(tmp_path):
    """A project, a cache with one object in it, and what is known of a stage that depends on a file and a folder."""
    project, cache = tmp_path / "project", tmp_path / "cache"
    for file in ("dvc.yaml", "code.py", "src/a.py", "unrelated.txt"):
        (project / file).parent.mkdir(parents=True, exist_ok=True)
        (project / file).write_text(file)
    cache.mkdir()
    (cache / "object").write_text("content")
    return tmp_path


def shortcut(lab: Path, **changes: Any) -> Shortcut:
    values = {"stage": "train", "definitions": DEFINITIONS, "files": {"params.yaml": "C: 1"}, "lock": LOCK, **changes}
    return Shortcut(lab / "cache", lab / "project", **values)


def known(lab: Path) -> Known:
    path = str(lab / "cache" / "object")
    stamp = stamp_of(path)
    assert stamp is not None
    return Known({"cmd": "x"}, {"cmd": "x", "outs": []}, "dvc.lock", {path: stamp}, {"report": "text"})


def keep(one: Shortcut, lab: Path) -> None:
    one.keep(READS, one.name(READS), known(lab))


@pytest.fixture
def kept(lab):
    keep(shortcut(lab), lab)
    return known(lab)


def test_the_same_situation_finds_what_was_kept(lab, kept):
    assert shortcut(lab).find() == kept


def test_an_unrelated_file_makes_no_difference(lab, kept):
    (lab / "project" / "unrelated.txt").write_text("other")

    assert shortcut(lab).find() == kept


@pytest.mark.parametrize(
    "changes",
    [
        {"stage": "other"},
        {"files": {"params.yaml": "C: 2"}},
        {"files": {}},
        {"lock": {"dvc.lock": {"before": {"outs": [{"path": "in", "md5": "2"}]}}}},
    ],
)
def test_another_situation_finds_nothing(lab, kept, changes):
    assert shortcut(lab, **changes).find() is None


@pytest.mark.parametrize("file", ["dvc.yaml", "code.py", "src/a.py", "src/new.py", "params.yaml"])
def test_a_changed_or_new_file_finds_nothing_and_the_old_one_finds_it_again(lab, file):
    place = lab / "project" / file
    before = place.read_text() if place.exists() else None
    keep(shortcut(lab, files={}), lab)
    place.write_text("changed")

    assert shortcut(lab, files={}).find() is None

    place.write_text(before) if before is not None else place.unlink()
    assert shortcut(lab, files={}).find() == known(lab)


@pytest.mark.parametrize("damage", ["gone", "changed", "replaced"])
def test_an_object_that_is_not_as_it_was_finds_nothing(lab, kept, damage):
    file = lab / "cache" / "object"
    if damage == "replaced":
        shutil.copy2(file, lab / "copy")
        (lab / "copy").replace(file)
    else:
        file.unlink() if damage == "gone" else file.write_text("other content")

    assert shortcut(lab).find() is None


def test_of_what_lies_behind_a_link_to_a_folder_nothing_is_known(lab):
    (lab / "project" / "linked").symlink_to(lab / "project" / "src")
    one = shortcut(lab)
    one.keep(["linked"], one.name(["linked"]), known(lab))

    assert shortcut(lab).find() is None


def test_what_is_broken_finds_nothing(lab, kept):
    for file in (lab / "cache" / "airflow" / "known").iterdir():
        file.write_text(file.read_text()[:20])

    assert shortcut(lab).find() is None
