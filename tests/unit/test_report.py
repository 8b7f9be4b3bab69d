"""The figures of a report are drawn once."""

import os
import time
from pathlib import Path

import pytest

from include import report
from include.stages.plots import PLOTS

TABLE = b"actual,predicted\na,a\nb,a\n"


@pytest.fixture
def drawn(monkeypatch):
    """What is drawn."""
    tables = []

    def svg(table):
        tables.append(table)
        return f"<svg>{len(tables)}</svg>"

    monkeypatch.setattr(report, "svg", svg)
    return tables


def test_a_figure_is_drawn_once_per_table(drawn, tmp_path):
    assert [report._figure(PLOTS[0], TABLE, tmp_path) for _ in range(2)] == ["<svg>1</svg>"] * 2
    assert report._figure(PLOTS[0], TABLE + b"b,b\n", tmp_path) == "<svg>2</svg>"
    assert len(drawn) == 2


def test_one_that_other_libraries_drew_is_drawn_again(drawn, tmp_path, monkeypatch):
    report._figure(PLOTS[0], TABLE, tmp_path)
    monkeypatch.setattr(report, "version", lambda _: "0.1")

    assert report._figure(PLOTS[0], TABLE, tmp_path) == "<svg>2</svg>"


def test_where_none_can_be_kept_it_is_drawn_each_time(drawn, tmp_path):
    blocked = tmp_path / "file"
    blocked.touch()

    for folder in (None, blocked):
        report._figure(PLOTS[0], TABLE, folder)
    assert len(drawn) == 2


def test_figures_that_no_report_has_shown_for_a_month_are_removed(drawn, tmp_path):
    def figures() -> set[Path]:
        return set(tmp_path.iterdir())

    report._figure(PLOTS[0], TABLE, tmp_path)
    shown = figures()
    report._figure(PLOTS[0], TABLE + b"b,b\n", tmp_path)
    for file in figures():
        os.utime(file, (long_ago := time.time() - 31 * 24 * 3600, long_ago))
    report._figure(PLOTS[0], TABLE, tmp_path)
    report._figure(PLOTS[0], TABLE + b"a,b\n", tmp_path)

    assert len(drawn) == 3
    assert len(figures()) == 2
    assert shown < figures()
