"""Packs on this machine: what is read from a damaged archive is right, or it is said to be damaged."""

import hashlib
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

import pytest

from dvc_airflow.local_code import DamagedError, LocalCode, archive_name

CONTENTS = {hashlib.sha256(content).hexdigest(): content for content in (b"abc" * 60, bytes(range(90)))}


@pytest.fixture
def code(tmp_path):
    code = LocalCode(tmp_path)
    code.path.mkdir(parents=True)
    return code


def test_no_damage_of_an_archive_is_taken_for_its_content(code):
    file = code.path / archive_name("pack")
    with ZipFile(file, "w", ZIP_DEFLATED) as archive:
        for sha256, content in CONTENTS.items():
            archive.writestr(ZipInfo(sha256), content, ZIP_DEFLATED)
    whole = file.read_bytes()

    found = 0
    for place in range(len(whole)):
        for bit in range(8):
            file.write_bytes(whole[:place] + bytes([whole[place] ^ 1 << bit]) + whole[place + 1 :])
            for sha256, content in CONTENTS.items():
                try:
                    with code.archive("pack") as read:
                        assert read(sha256) == content
                except DamagedError:
                    found += 1

    assert found > len(whole)


def test_an_archive_that_was_cut_off_is_damaged(code):
    file = code.path / archive_name("pack")
    with ZipFile(file, "w") as archive:
        archive.writestr("name", b"content")
    file.write_bytes(file.read_bytes()[:-1])

    with pytest.raises(DamagedError), code.archive("pack"):
        pass
