"""Large inputs of a stage that DVC runs."""

import pytest

from dvc_airflow import inputs
from dvc_airflow.inputs import LARGE
from tests.support.strangers import Stranger, outcomes

READ = "stages: {read: {cmd: 'wc -c < big.bin > size.txt', deps: [big.bin], outs: [size.txt]}}\n"
WRITE = (
    "stages: {write: {cmd: 'chmod u+w big.bin; echo more >> big.bin; wc -c < big.bin > size.txt', outs: [size.txt]}}\n"
)


def test_a_stage_that_writes_to_its_input_is_retried_with_a_copy_of_its_own(tmp_path, monkeypatch):
    """Only root can, or who changes the mode; plain DVC has a copy of its own there as well."""
    monkeypatch.setattr(inputs, "_is_cloned", lambda *_: False)
    stranger = Stranger(tmp_path, {"dvc.yaml": WRITE, "big.bin": "x" * LARGE})

    with pytest.raises(Exception, match=r"big\.bin is shared with other tasks, and it was written to") as caught:
        stranger.run()
    again = stranger.run()

    assert not caught.value.is_final
    assert outcomes(again) == {"write": "executed"}
    assert (stranger.path / "big.bin").stat().st_size == LARGE


def test_a_stage_reads_a_large_input(tmp_path):
    stranger = Stranger(tmp_path, {"dvc.yaml": READ, "big.bin": "x" * LARGE})

    assert [outcomes(stranger.run()) for _ in range(2)] == [{"read": "executed"}, {"read": "unchanged"}]
