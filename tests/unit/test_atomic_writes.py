"""Atomic writes, of `include` and of `dvc_airflow`: whole or not at all, by however many writers."""

import stat
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from dvc_airflow.files import replacing
from include.stages.files import write_bytes

Write = Callable[[Path, bytes], None]
SIZE = 200_000


def by_replacing(target: Path, content: bytes) -> None:
    with replacing(target) as part:
        part.write_bytes(content)


@pytest.fixture(params=[write_bytes, by_replacing])
def write(request) -> Write:
    return request.param


def test_writers_of_the_same_file_at_the_same_time_do_not_meet(tmp_path, write):
    """Threads: all of them have the same process id, as processes of several machines may."""
    target = tmp_path / "folder" / "file"
    write(target, b"0" * SIZE)

    def again(number: int) -> None:
        for _ in range(20):
            write(target, str(number).encode() * SIZE)
            content = target.read_bytes()
            assert len(content) == SIZE
            assert len(set(content)) == 1

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(again, range(8)))

    assert [path.name for path in target.parent.iterdir()] == ["file"]


def test_a_name_as_long_as_the_file_system_allows_can_be_written(tmp_path, write):
    target = tmp_path / ("x" * 255)

    write(target, b"content")

    assert target.read_bytes() == b"content"


def test_a_failure_leaves_what_was_there_and_nothing_else(tmp_path, write):
    target = tmp_path / "file"
    write(target, b"before")
    with pytest.raises(TypeError):
        write(target, "no bytes")  # type: ignore[arg-type]

    assert target.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [target]


def test_a_block_that_raises_replaces_nothing(tmp_path):
    target = tmp_path / "file"

    def fail_half_way() -> None:
        with replacing(target, tmp_path / "parts") as part:
            part.write_bytes(b"half")
            raise KeyError

    with pytest.raises(KeyError):
        fail_half_way()

    assert not target.exists()
    assert list((tmp_path / "parts").iterdir()) == []


@pytest.mark.parametrize("mode", [0o600, 0o444, 0o666])
def test_a_file_has_its_mode_from_the_beginning(tmp_path, mode, monkeypatch):
    modes = []
    monkeypatch.setattr("os.replace", lambda part, target: modes.append(stat.S_IMODE(part.stat().st_mode)))

    write_bytes(tmp_path / "file", b"secret", mode=mode)

    assert modes == [mode]
