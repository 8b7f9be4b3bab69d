"""Large inputs are not copied for each task, and no stage can spoil them for others."""

import os
import shutil

import pytest

from dvc_airflow import inputs
from dvc_airflow.inputs import LARGE, Inputs


@pytest.fixture
def large(tmp_path):
    file = tmp_path / "project.bin"
    file.write_bytes(b"x" * LARGE)
    return file


def put(cache, source, target):
    """Into a workspace: the folder around the target."""
    target.parent.mkdir(exist_ok=True)
    made = Inputs(cache)
    made.put(source, target, target.parent)
    return made


def test_tasks_share_one_copy_that_is_not_the_projects_own(large, tmp_path, monkeypatch):
    monkeypatch.setattr(inputs, "_is_cloned", lambda *_: False)
    one, other = tmp_path / "one" / "in.bin", tmp_path / "other" / "in.bin"
    put(tmp_path / "cache", large, one)
    put(tmp_path / "cache", large, other)

    assert one.read_bytes() == other.read_bytes() == large.read_bytes()
    assert one.stat().st_mtime_ns == large.stat().st_mtime_ns
    assert one.stat().st_ino == other.stat().st_ino != large.stat().st_ino
    assert one.stat().st_mode & 0o222 == 0


@pytest.mark.parametrize("cache", [True, False])
def test_a_small_file_and_one_without_a_shared_cache_is_a_copy(large, tmp_path, cache):
    source = large
    if cache:
        source = tmp_path / "small"
        source.write_text("small")

    put(tmp_path / "cache" if cache else None, source, tmp_path / "target" / "in.bin")

    assert (tmp_path / "target" / "in.bin").stat().st_nlink == 1
    assert not (tmp_path / "cache").exists()


def test_another_version_of_the_file_takes_the_place_of_the_copy(large, tmp_path, monkeypatch):
    monkeypatch.setattr(inputs, "_is_cloned", lambda *_: False)
    put(tmp_path / "cache", large, tmp_path / "one" / "in.bin")
    large.write_bytes(b"y" * LARGE)
    put(tmp_path / "cache", large, tmp_path / "other" / "in.bin")

    assert (tmp_path / "one" / "in.bin").read_bytes() == b"x" * LARGE
    assert (tmp_path / "other" / "in.bin").read_bytes() == b"y" * LARGE
    assert len([path for path in (tmp_path / "cache").rglob("*") if path.is_file()]) == 1


def test_a_copy_that_was_written_to_is_found_and_given_up(large, tmp_path, monkeypatch):
    monkeypatch.setattr(inputs, "_is_cloned", lambda *_: False)
    task = put(tmp_path / "cache", large, tmp_path / "one" / "in.bin")
    beside = put(tmp_path / "cache", large, tmp_path / "beside" / "in.bin")
    assert task.spoiled() == beside.spoiled() == []
    (tmp_path / "one" / "in.bin").chmod(0o644)
    with open(tmp_path / "one" / "in.bin", "ab") as file:
        file.write(b"more")

    assert task.spoiled() == beside.spoiled() == ["project.bin"]  # of both: it may have read the other's bytes
    put(tmp_path / "cache", large, tmp_path / "next" / "in.bin")
    assert (tmp_path / "next" / "in.bin").read_bytes() == large.read_bytes()
    assert (tmp_path / "next" / "in.bin").stat().st_nlink == 1


def test_a_stage_that_replaces_or_removes_its_input_spoils_nothing(large, tmp_path, monkeypatch):
    monkeypatch.setattr(inputs, "_is_cloned", lambda *_: False)
    task = put(tmp_path / "cache", large, tmp_path / "one" / "in.bin")
    (tmp_path / "one" / "in.bin").unlink()
    (tmp_path / "one" / "in.bin").write_text("another")

    assert task.spoiled() == []


def test_where_no_link_can_be_made_it_is_copied(large, tmp_path, monkeypatch):
    def refuse(*_: object) -> None:
        raise OSError("Invalid cross-device link")

    monkeypatch.setattr(inputs, "_is_cloned", lambda *_: False)
    monkeypatch.setattr(os, "link", refuse)
    put(tmp_path / "cache", large, tmp_path / "one" / "in.bin")

    assert (tmp_path / "one" / "in.bin").read_bytes() == large.read_bytes()


@pytest.mark.parametrize(
    ("said", "named"),
    [
        ("PermissionError: [Errno 13] Permission denied: 'project.bin'", ["project.bin"]),
        ("sqlite3.OperationalError: attempt to write a readonly database", ["project.bin"]),
        ("ValueError: project.bin holds nonsense", []),
    ],
)
def test_who_may_not_write_to_its_input_gets_a_copy_of_its_own_next_time(large, tmp_path, monkeypatch, said, named):
    """Any user but root."""
    monkeypatch.setattr(inputs, "_is_cloned", lambda *_: False)

    assert put(tmp_path / "cache", large, tmp_path / "one" / "in.bin").spoiled(said) == named
    put(tmp_path / "cache", large, tmp_path / "next" / "in.bin")
    assert (tmp_path / "next" / "in.bin").stat().st_nlink == (1 if named else 5)


def test_copies_that_nobody_has_any_more_go_after_a_while(large, tmp_path, monkeypatch):
    monkeypatch.setattr(inputs, "_is_cloned", lambda *_: False)
    put(tmp_path / "cache", large, tmp_path / "one" / "in.bin")
    shutil.rmtree(tmp_path / "one")
    (old,) = (tmp_path / "cache" / "airflow" / "files").iterdir()
    os.utime(old, (0, 0))
    another = tmp_path / "another.bin"
    another.write_bytes(b"z" * LARGE)

    put(tmp_path / "cache", another, tmp_path / "other" / "in.bin")

    assert not old.exists()
