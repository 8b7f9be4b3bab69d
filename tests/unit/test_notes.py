"""The note on a run says which stages ran, and what the gate decided."""

from dvc_airflow.result import Outcome, StageResult
from ml_operators.notes import FENCE, LENGTH, MORE, run_note, shortened


def ended(stage: str, outcome: Outcome, second: int) -> StageResult:
    return StageResult(
        stage=stage,
        outcome=outcome,
        reason="-",
        started_at=f"2026-01-01T00:00:{second:02}+00:00",
        seconds=1,
        executed_in=None,
        lock={"dvc.lock": {stage: {"outs": []}}},
        published={},
    )


def test_stages_are_listed_by_outcome_in_the_order_in_which_they_ran_and_texts_follow():
    stages = {
        "pipeline.train": ended("train", Outcome.EXECUTED, 9),
        "pipeline.preprocess": ended("preprocess", Outcome.EXECUTED, 5),
        "pipeline.get_data": ended("get_data", Outcome.UNCHANGED, 1),
    }

    note = run_note(stages, {}, ["Model iris version 3: alias champion; no champion to compare with"])

    assert note.splitlines() == [
        "executed: preprocess, train",
        "unchanged: get_data",
        "",
        "Model iris version 3: alias champion; no champion to compare with",
    ]


def test_of_a_run_that_failed_the_tasks_that_failed_and_did_not_run_are_listed():
    stages = {"pipeline.get_data": ended("get_data", Outcome.EXECUTED, 1)}
    states = {
        "resolve_config": "success",
        "pipeline.get_data": "success",
        "pipeline.preprocess": "failed",
        "pipeline.train": "upstream_failed",
        "dvc_push": "upstream_failed",
    }

    note = run_note(stages, states, [])

    assert note.splitlines() == [
        "executed: get_data",
        "failed: pipeline.preprocess",
        "not run: pipeline.train, dvc_push",
    ]


def test_a_run_without_stages_has_the_texts_alone():
    assert run_note({}, {}, ["rolled back"]) == "rolled back"


def test_a_note_is_no_longer_than_airflow_takes_and_says_what_is_missing():
    table = ["metric", *(f"test_recall[region={number}]  0.9  no" for number in range(60))]
    text = "\n".join([f"Model iris version 3: {'a long remark ' * 60}", "", FENCE, *table, FENCE])

    for note in (run_note({}, {}, ["x" * 5000]), run_note({}, {}, [text]), shortened(text)):
        assert len(note) <= LENGTH
        assert note.endswith(MORE)

    lines = shortened(text).splitlines()
    assert lines[2:5] == [FENCE, *table[:2]]
    assert lines[-2] == FENCE
    assert set(lines[4:-2]) <= set(table)


def test_a_note_that_fits_is_left_as_it_is():
    assert shortened("x" * LENGTH) == "x" * LENGTH
