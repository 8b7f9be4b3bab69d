"""The memo that tasks with one cache share: a result is recalled only where everything is exactly as it was."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from dvc_airflow.files import state_of
from dvc_airflow.memo import Fingerprint, Memo, MemoEntry
from dvc_airflow.project_files import project_files

LOCK = {"dvc.lock": {"before": {"outs": [{"path": "in", "md5": "1"}]}}}
DEFINITIONS = ["dvc.yaml", "params.yaml"]
SOURCES = ["code.py", "src"]


@pytest.fixture
def folder(tmp_path):
    """A project, a cache with one object in it, and what is known of a stage that depends on a file and a folder."""
    project, cache = tmp_path / "project", tmp_path / "cache"
    for file in ("dvc.yaml", "code.py", "src/a.py", "unrelated.txt"):
        (project / file).parent.mkdir(parents=True, exist_ok=True)
        (project / file).write_text(file)
    cache.mkdir()
    (cache / "object").write_text("content")
    return tmp_path


def fingerprint(folder: Path, **changes: Any) -> Fingerprint:
    values = {"stage": "train", "definitions": DEFINITIONS, "files": {"params.yaml": "C: 1"}, "lock": LOCK, **changes}
    return Fingerprint(folder / "project", **values, content=lambda: project_files(folder / "project"))


def recall(folder: Path, **changes: Any) -> MemoEntry | None:
    return Memo(folder / "cache").recall(fingerprint(folder, **changes))


def entry(folder: Path) -> MemoEntry:
    path = str(folder / "cache" / "object")
    state = state_of(path)
    assert state is not None
    return MemoEntry({"cmd": "x"}, {"cmd": "x", "outs": []}, "dvc.lock", {path: state}, {"report": "text"})


def keep(folder: Path, sources: list[str] = SOURCES, **changes: Any) -> None:
    Memo(folder / "cache").keep(fingerprint(folder, **changes).with_sources(sources), entry(folder))


@pytest.fixture
def kept(folder):
    keep(folder)
    return entry(folder)


def test_the_same_stage_with_the_same_files_recalls_what_was_kept(folder, kept):
    assert recall(folder) == kept


def test_an_unrelated_file_makes_no_difference(folder, kept):
    (folder / "project" / "unrelated.txt").write_text("other")

    assert recall(folder) == kept


@pytest.mark.parametrize(
    "changes",
    [
        {"stage": "other"},
        {"files": {"params.yaml": "C: 2"}},
        {"files": {}},
        {"lock": {"dvc.lock": {"before": {"outs": [{"path": "in", "md5": "2"}]}}}},
    ],
)
def test_another_stage_value_or_input_recalls_nothing(folder, kept, changes):
    assert recall(folder, **changes) is None


@pytest.mark.parametrize("file", ["dvc.yaml", "code.py", "src/a.py", "src/new.py", "params.yaml"])
def test_a_changed_or_new_file_finds_nothing_and_the_old_one_finds_it_again(folder, file):
    place = folder / "project" / file
    before = place.read_text() if place.exists() else None
    keep(folder, files={})
    place.write_text("changed")

    assert recall(folder, files={}) is None

    place.write_text(before) if before is not None else place.unlink()
    assert recall(folder, files={}) == entry(folder)


@pytest.mark.parametrize("damage", ["gone", "changed", "replaced"])
def test_an_object_that_is_not_as_it_was_finds_nothing(folder, kept, damage):
    file = folder / "cache" / "object"
    if damage == "replaced":
        shutil.copy2(file, folder / "copy")
        (folder / "copy").replace(file)
    else:
        file.unlink() if damage == "gone" else file.write_text("other content")

    assert recall(folder) is None


def test_of_what_lies_behind_a_link_to_a_folder_nothing_is_known(folder):
    (folder / "project" / "linked").symlink_to(folder / "project" / "src")
    keep(folder, ["linked"])

    assert recall(folder) is None


def test_what_is_broken_finds_nothing(folder, kept):
    for file in (folder / "cache" / "airflow" / "results").iterdir():
        file.write_text(file.read_text()[:20])

    assert recall(folder) is None


def test_an_entry_of_another_form_is_no_entry(folder, kept):
    for file in (folder / "cache" / "airflow" / "results").iterdir():
        file.write_text('{"inputs": {}, "stamps": {}}')

    assert recall(folder) is None


def test_without_a_shared_cache_nothing_is_remembered_and_nobody_waits(folder):
    memo = Memo(None)
    memo.keep(fingerprint(folder).with_sources(SOURCES), entry(folder))

    assert memo.recall(fingerprint(folder)) is None
    with memo.exclusive("key") as waited, memo.exclusive("key") as waited_too:
        assert (waited, waited_too) == (False, False)


# One execution per key, whatever happens to the process that has the lock.

PLUGINS = str(Path(__file__).parents[2] / "plugins")
HOLD = """
import sys, time
from pathlib import Path
from dvc_airflow.memo import Memo
with Memo(Path(sys.argv[1])).exclusive("key") as waited:
    print(waited, flush=True)
    time.sleep(float(sys.argv[2]))
"""


def holder(cache: Path, seconds: float) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", HOLD, str(cache), str(seconds)]
    process = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": PLUGINS}, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "False\n"
    return process


def test_the_second_waits_for_the_first_and_knows_that_it_waited(tmp_path):
    process = holder(tmp_path, 1.0)

    with Memo(tmp_path).exclusive("key") as waited:
        assert waited
    process.communicate(timeout=30)
    assert process.returncode == 0


def test_another_key_does_not_wait(tmp_path):
    process = holder(tmp_path, 60)
    started = time.monotonic()

    with Memo(tmp_path).exclusive("other") as waited:
        assert not waited

    assert process.poll() is None
    assert time.monotonic() - started < 30
    process.kill()
    process.communicate()


def test_a_holder_that_is_killed_leaves_no_lock(tmp_path):
    process = holder(tmp_path, 600)
    process.kill()
    process.communicate()

    with Memo(tmp_path).exclusive("key") as waited:
        assert not waited


def test_a_cache_that_takes_no_lock_lets_the_task_go_on(tmp_path):
    (tmp_path / "airflow").write_text("not a folder")

    with Memo(tmp_path).exclusive("key") as has_waited:
        assert has_waited is False
