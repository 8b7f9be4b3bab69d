"""The options of `gc` that are refused before anything is read."""

import pytest
from typer.testing import CliRunner

from include.cli.app import application


@pytest.mark.parametrize("days", ["0", "-1", "36501"])
def test_days_that_cannot_be_are_refused_with_the_reason_and_what_to_give(days):
    answer = CliRunner().invoke(application(), ["gc", "--keep-days", days])

    assert answer.exit_code == 2
    said = " ".join(answer.output.split())
    assert f"{days} is not between 1 and 36500. Runs of the last day always stay, for they may not have ended" in said
    assert "give --keep-days 1 to keep no others for their age. Nothing was deleted." in said
