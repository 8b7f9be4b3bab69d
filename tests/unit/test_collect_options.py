"""The options of `gc` that are refused before anything is read."""

import pytest
from typer.testing import CliRunner

from include.cli.app import application
from include.cli.collect import _lines


@pytest.mark.parametrize(
    ("going", "kept", "said"),
    [
        (0, 1, "0 of 1 run go, 1 is kept."),
        (1, 2, "1 of 3 runs goes, 2 are kept."),
        (8, 1, "8 of 9 runs go, 1 is kept."),
    ],
)
def test_the_numbers_of_runs_are_said_as_people_do(going, kept, said):
    run = {"run": "r", "started": "2026-03-01T00:00:00"}
    document = {"bucket": "b", "runs": [run] * going, "kept_runs": kept, "mlflow_runs": [], "git": True, "waiting": []}

    assert _lines(document)[0] == f"s3://b: {said}"


@pytest.mark.parametrize("days", ["0", "-1", "36501"])
def test_days_that_cannot_be_are_refused_with_the_reason_and_what_to_give(days):
    answer = CliRunner().invoke(application(), ["gc", "--keep-days", days])

    assert answer.exit_code == 2
    said = " ".join(answer.output.split())
    assert f"{days} is not between 1 and 36500. Runs of the last day always stay, for they may not have ended" in said
    assert "give --keep-days 1 to keep no others for their age. Nothing was deleted." in said
