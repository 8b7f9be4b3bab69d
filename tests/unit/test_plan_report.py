"""How a plan is shown: durations, sums, tables; what users wrote is no markup."""

import json

import pytest

from dvc_airflow.errors import TaskError
from dvc_airflow.plan import RunPlan
from dvc_airflow.plan_report import Sum, as_json, as_markdown, as_text, conf_of, duration
from dvc_airflow.result import Outcome
from dvc_airflow.stage_plan import StagePlan

PLACES = {"dag": "own", "cache": None, "remote": "s3://b/p"}
LOAD = StagePlan("load", Outcome.UNCHANGED, "same inputs as in the last run; executed by run-1 at noon")
TRAIN = StagePlan("train", Outcome.EXECUTED, "rate 1 -> 2", seconds=4.25)
REPORT = StagePlan("report", None, "depends on what train makes", seconds=60.0)
NEW = StagePlan("new", Outcome.EXECUTED, "no earlier run was found")
TWIN = StagePlan("train", None, "depends on what train makes for one", made_in="one")


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0, "0.0 s"),
        (0.44, "0.4 s"),
        (9.96, "10 s"),
        (59.4, "59 s"),
        (59.6, "1 min 0 s"),
        (3599.6, "1 h 0 min"),
        (7500, "2 h 5 min"),
    ],
)
def test_a_duration_is_shown_in_the_unit_that_fits(seconds, shown):
    assert duration(seconds) == shown


@pytest.mark.parametrize(
    ("stages", "shown"),
    [
        ([LOAD], "0 s"),
        ([LOAD, TRAIN], "4.2 s"),
        ([TRAIN, REPORT], "4.2 s to 1 min 4 s"),
        ([REPORT], "up to 1 min 0 s"),
        ([NEW], "not known"),
        ([TRAIN, NEW], "4.2 s"),
        ([TWIN], "0 s"),
    ],
)
def test_the_sum_has_what_is_certain_and_what_may_come(stages, shown):
    assert str(Sum.of([RunPlan("", tuple(stages))])) == shown


def test_stages_of_which_nothing_is_known_are_named_beside_the_sum():
    text = as_text([RunPlan("", (TRAIN, NEW))], PLACES)

    assert text.splitlines()[0] == "DAG own, no cache, remote s3://b/p"
    assert text.endswith("Not in that time, because no execution is recorded: new.")


def test_several_runs_are_a_table_by_run_and_the_whole_is_summed_up():
    plans = [RunPlan("one", (LOAD, TRAIN)), RunPlan("two", (LOAD, TWIN))]

    lines = as_text(plans, PLACES).splitlines()

    assert lines[3].split() == ["one", "unchanged", "executed", "4.2", "s", "train:", "rate", "1", "->", "2"]
    assert lines[4].split()[:5] == ["two", "unchanged", "depends", "0", "s"]
    assert lines[-1].startswith("Executed: 1 of 4 stages in 2 runs; 1 depends on what others make.")
    document = json.loads(as_json(plans, PLACES))
    assert [run["run"] for run in document["runs"]] == ["one", "two"]
    assert document["seconds"] == {"executed": 4.25, "at_most": 4.25, "not_known": []}


def test_each_of_several_runs_has_a_reason_also_if_nothing_is_executed():
    twice = StagePlan("train", Outcome.UNCHANGED, LOAD.reason)
    back = StagePlan("train", Outcome.RESTORED, "rate 2 -> 1; executed by run-1 at noon")
    plans = [RunPlan("one", (LOAD, twice)), RunPlan("two", (LOAD, TWIN)), RunPlan("three", (LOAD, back))]

    rows = as_text(plans, PLACES).splitlines()[3:6]

    assert rows[0].endswith(f"  load, train: {LOAD.reason}")
    assert rows[1].endswith("  train: depends on what train makes for one")
    assert rows[2].endswith("  train: rate 2 -> 1; executed by run-1 at noon")


def test_in_a_table_of_several_runs_a_hash_is_short_so_that_what_it_became_is_seen():
    old, new = "a4cbd55a585282ab0123456789abcdef", "a0c69d3dce728201123456789abcdef0"
    change = f"data.source data/2026-03-01.csv -> data/2026-03-02.csv; data.version md5:{old} -> md5:{new}"
    plans = [RunPlan("one", (StagePlan("get_data", Outcome.EXECUTED, change),)), RunPlan("two", (LOAD,))]

    row = as_text(plans, PLACES).splitlines()[3]

    assert row.endswith("data/2026-03-02.csv; data.version md5:a4cbd55a -> md5:a0c69d3d")
    assert json.loads(as_json(plans, PLACES))["runs"][0]["stages"][0]["reason"] == change


def test_a_single_run_of_a_date_has_a_row_for_each_stage():
    lines = as_text([RunPlan("2026-03-01", (LOAD, TRAIN))], PLACES).splitlines()

    assert lines[0] == "DAG own, run 2026-03-01, no cache, remote s3://b/p"
    assert [line.split()[:2] for line in lines[3:5]] == [["load", "unchanged"], ["train", "executed"]]
    assert lines[4].endswith("rate 1 -> 2")


def test_a_dag_without_a_run_of_the_project_is_called_so():
    for dags, said in ((["own"], "DAG own,"), (["a", "b"], "DAG own, which has not run this project yet (a, b have),")):
        assert as_text([RunPlan("", (LOAD,))], {**PLACES, "dags_with_runs": dags}).startswith(said)


def test_a_key_that_stands_twice_in_the_values_of_a_run_is_named():
    with pytest.raises(TaskError, match=r"--conf: the key 'C' stands there twice\. Give it once\."):
        conf_of('{"model": {"C": 1, "kind": "x", "C": 2}}', "{}")


def test_values_are_no_markdown():
    hostile = StagePlan("train", Outcome.EXECUTED, "name a -> <img src=x> | [x](http://y) @all `b`\n# c")

    (row,) = [line for line in as_markdown([RunPlan("", (hostile,))], PLACES).splitlines() if "train" in line]

    assert "<img" not in row
    assert "\\| \\[x\\](http" in row
    assert "@all" not in row
    assert "\\`b\\` # c" in row


def test_why_a_run_would_refuse_a_stage_that_depends_on_others_stands_below_once():
    use = StagePlan("use", None, "depends on what load makes", refusal="DVC: 'out' is tracked.\n    git rm 'out_*'")
    plans = [RunPlan("one", (LOAD, use)), RunPlan("two", (LOAD, use))]

    assert as_text(plans, PLACES).endswith(
        "\nIf use is executed, the run refuses it: DVC: 'out' is tracked.\n    git rm 'out_*'"
    )
    assert (
        "\n\nIf use is executed, the run refuses it: DVC: 'out' is tracked.     git rm 'out\\_\\*'\n\n<sub>"
        in as_markdown(plans, PLACES)
    )
    stages = json.loads(as_json(plans, PLACES))["runs"][0]["stages"]
    assert [stage["refused_if_executed"] for stage in stages] == [None, use.refusal]
