"""Which files are part of a project that DVC runs."""

import pytest

from tests.support.strangers import Stranger, outcomes


@pytest.mark.parametrize("size", [10, 2 * 1024 * 1024])
def test_a_dependency_behind_a_link_out_of_the_project_is_read_and_stays_as_it_is(tmp_path, size):
    """The user's data, on another disk."""
    (tmp_path / "disk").mkdir()
    (tmp_path / "disk" / "big.csv").write_text("x" * size)
    text = "stages: {count: {cmd: wc -c < data/big.csv > n.txt, deps: [data/big.csv], outs: [n.txt]}}\n"
    stranger = Stranger(tmp_path, {"dvc.yaml": text})
    (stranger.path / "data").symlink_to(tmp_path / "disk")

    assert outcomes(stranger.run()) == {"count": "executed"}
    assert (tmp_path / "disk" / "big.csv").read_text() == "x" * size


def test_a_project_of_its_own_below_is_not_ours(tmp_path):
    stranger = Stranger(tmp_path, {
        "dvc.yaml": "stages: {a: {cmd: echo 1 > a.txt, outs: [a.txt]}}\n",
        "sub/.dvc/config": "",
        "sub/dvc.yaml": "stages: {theirs: {cmd: exit 1}}\n",
    })  # fmt: skip

    assert outcomes(stranger.run()) == {"a": "executed"}


def test_what_dvcignore_hides_defines_no_stages(tmp_path):
    stranger = Stranger(tmp_path, {
        "dvc.yaml": "stages: {a: {cmd: echo 1 > a.txt, outs: [a.txt]}}\n",
        ".dvcignore": "examples/\n",
        "examples/dvc.yaml": "stages: {theirs: {cmd: exit 1}}\n",
    })  # fmt: skip

    assert outcomes(stranger.run()) == {"a": "executed"}
