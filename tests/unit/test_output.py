"""What commands print."""

import subprocess
import sys
from pathlib import Path

import pytest

from include.cli.output import shown_size
from include.cli.past_runs import _in_short

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("size", "shown"),
    [
        (0, "0 B"),
        (812, "812 B"),
        (1024, "1.0 KiB"),
        (143 * 1024, "143 KiB"),
        (1024 * 1024 - 1, "1.0 MiB"),
        (2.4 * 2**20, "2.4 MiB"),
        (5 * 2**50, "5120 TiB"),
    ],
)
def test_sizes_are_shown_in_the_unit_that_fits(size, shown):
    assert shown_size(size) == shown


def test_a_python_without_the_projects_packages_is_told_what_to_do():
    done = subprocess.run([sys.executable, "-S", "-m", "include", "plan"], cwd=ROOT, capture_output=True, text=True)

    assert done.returncode == 1
    assert done.stderr.startswith(f"error: {sys.executable} has no module ")
    assert 'eval "$(make -s env-vars)"; or call .venv/bin/python -m include' in done.stderr
    assert done.stderr.count("\n") == 1


def test_of_many_values_that_differ_three_are_shown_and_the_rest_counted():
    values = {"model.C": 0.5, "data.source": "a.csv", "data.version": None, "split.test_size": 0.3, "model.tol": 1}

    assert _in_short({"model.C": 0.5}) == "model.C=0.5"
    assert _in_short(values) == "model.C=0.5, data.source=a.csv, data.version=null, and 2 more"
    assert _in_short({}) == ""
