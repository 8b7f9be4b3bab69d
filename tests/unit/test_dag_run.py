"""The log of ``airflow dags test``, shown as progress."""

import pytest

from include.services.embedded.dag_run import DagRun, _note, brief


def shown(capsys, *events: dict) -> tuple[DagRun, str]:
    run, task = DagRun(), ""
    for event in events:
        task = _note(run, event, task)
    return run, capsys.readouterr().out


def test_a_stage_is_shown_when_it_has_ended_with_its_outcome_and_reason(capsys):
    run, said = shown(
        capsys,
        {"event": "[DAG TEST] starting task_id=pipeline.train map_index=-1"},
        {"event": "Stage train: executed (model.C 1.0 -> 2.5)"},
        {"event": "[DAG TEST] end task task_id=pipeline.train map_index=-1"},
        {"event": "DagRun Finished: dag_id=x, logical_date=y, run_id=manual__1, run_start_date=z"},
    )

    assert said == "  ✔ pipeline.train                executed: model.C 1.0 -> 2.5\n"
    assert (run.run_id, run.failures) == ("manual__1", {})


def test_a_failed_task_is_shown_in_one_line_and_its_whole_message_is_kept(capsys):
    cause = "dvc repro failed:\n> python -m x\nerror: a.csv: no column 'y'.\nERROR: failed"
    run, said = shown(
        capsys,
        {"event": "[DAG TEST] starting task_id=pipeline.train map_index=-1"},
        {"event": "Task failed with exception", "exception": [{"exc_value": cause}]},
        {"event": "[DAG TEST] end task task_id=pipeline.train map_index=-1"},
    )

    assert said == "  ✘ pipeline.train                a.csv: no column 'y'.\n"
    assert run.failures == {"pipeline.train": cause}


def test_a_task_that_succeeds_when_it_is_tried_again_is_no_failure(capsys):
    run, _ = shown(
        capsys,
        {"event": "[DAG TEST] starting task_id=push map_index=-1"},
        {"event": "Task failed with exception", "exception": [{"exc_value": "away"}]},
        {"event": "[DAG TEST] end task task_id=push map_index=-1"},
        {"event": "[DAG TEST] starting task_id=push map_index=-1"},
        {"event": "[DAG TEST] end task task_id=push map_index=-1"},
    )

    assert run.failures == {}


@pytest.mark.parametrize(("cause", "line"), [("one", "one"), ("one\ntwo", "one"), ("x\nerror: y\nz", "y"), ("", "")])
def test_the_line_that_says_what_is_wrong(cause, line):
    assert brief(cause) == line
