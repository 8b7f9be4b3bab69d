"""Why a stage ran, in words."""

import pytest

from dvc_airflow.explain import explain, input_changes, reproduction

BEFORE = {
    "cmd": "python -m x",
    "params": {"config/config.yaml": {"model": {"C": 1.0, "tol": 0.1}, "data.target": "y"}},
    "deps": [{"path": "x.py", "md5": "1"}, {"path": "data.csv", "md5": "2"}],
}


@pytest.mark.parametrize(
    ("now", "said"),
    [
        (BEFORE, []),
        ({**BEFORE, "cmd": "python -m y"}, ["the command changed"]),
        (
            {**BEFORE, "params": {"config/config.yaml": {"model": {"C": 2.5, "tol": 0.1}, "data.target": "y"}}},
            ["model.C 1.0 -> 2.5"],
        ),
        (
            {**BEFORE, "params": {"config/config.yaml": {"model": {"C": 1.0}, "n": 3}}},
            ["data.target was removed", "model.tol was removed", "n is new (3)"],
        ),
        ({**BEFORE, "deps": [{"path": "x.py", "md5": "9"}, {"path": "data.csv", "md5": "2"}]}, ["x.py changed"]),
        (
            {**BEFORE, "deps": [{"path": "x.py", "md5": "1"}, {"path": "data.csv", "md5": "9"}]},
            ["data.csv changed upstream"],
        ),
        (
            {**BEFORE, "deps": [{"path": "z.py", "md5": "1"}, {"path": "data.csv", "md5": "2"}]},
            ["x.py is no longer a dependency", "z.py is a new dependency"],
        ),
    ],
)
def test_each_difference_is_named(now, said):
    assert input_changes(BEFORE, now, frozenset({"data.csv"})) == said


def test_what_comes_and_goes_with_the_value_that_names_it_is_not_listed():
    def of_kind(kind, **params):
        code = [{"path": f"kinds/{kind}.py", "md5": kind}, {"path": "x.py", "md5": "1"}]
        return {"cmd": "c", "params": {"config.yaml": {"model.kind": kind, **params}}, "deps": code}

    line = of_kind("line", **{"model.line": {"C": 1.0, "tol": 0.1}})
    tree = of_kind("tree", **{"model.tree": {"depth": 3, "leaves": 9}})

    assert input_changes(line, tree) == ["model.kind line -> tree"]
    assert input_changes(line, {**tree, "deps": [{"path": "x.py", "md5": "2"}, {"path": "y.py", "md5": "3"}]}) == [
        "model.kind line -> tree",
        "x.py changed",
        "y.py is a new dependency",
    ]
    assert input_changes(line, of_kind("line")) == ["model.line.C was removed", "model.line.tol was removed"]
    assert input_changes(line, of_kind("tree", **{"model.line": {"C": 2.0}})) == [
        "model.kind line -> tree",
        "model.line.C 1.0 -> 2.0",
    ]


def test_params_that_json_has_no_form_for_are_unchanged_if_they_are_the_same():
    values = {"class_weight": {0: 1.0, True: 2.0}, "limit": float("nan")}
    found = {"cmd": "x", "params": {"params.yaml": values}, "outs": []}
    last = {**found, "params": {"params.yaml": {**values, "limit": float("nan")}}}

    ended = explain(last, found, found, frozenset(), None)

    assert (ended.outcome, ended.reason) == ("unchanged", "same inputs as in the last run; executed by an unknown run")
    changed = {**found, "params": {"params.yaml": {**values, "class_weight": {0: 3.0, True: 2.0}}}}
    assert explain(last, None, changed, frozenset(), None).reason == "class_weight.0 1.0 -> 3.0"


def test_a_value_of_several_lines_is_one_line_of_the_log():
    now = {**BEFORE, "params": {"config/config.yaml": {"model": {"C": "a\nb", "tol": 0.1}, "data.target": "y"}}}

    assert input_changes(BEFORE, now) == ["model.C 1.0 -> a\\nb"]


def test_a_long_value_is_cut():
    now = {
        **BEFORE,
        "params": {"config/config.yaml": {**BEFORE["params"]["config/config.yaml"], "data.target": "z" * 500}},
    }

    (said,) = input_changes(BEFORE, now)

    assert len(said) < 100
    assert said.endswith("...")


INPUTS = {"cmd": "c", "params": {"p": {"C": 2}}, "deps": []}
LAST = {"cmd": "c", "params": {"p": {"C": 1}}, "deps": [], "outs": []}
FOUND = {**INPUTS, "outs": []}
BY = {"run_id": "r1", "at": "2026-01-01"}


@pytest.mark.parametrize(
    ("last", "found", "inputs", "by", "outcome", "reason"),
    [
        (None, None, INPUTS, None, "executed", "no earlier run was found"),
        (None, FOUND, INPUTS, None, "restored", "executed by an unknown run"),
        (LAST, LAST, LAST, BY, "unchanged", "same inputs as in the last run; executed by r1 at 2026-01-01"),
        (LAST, FOUND, INPUTS, BY, "restored", "C 1 -> 2; executed by r1 at 2026-01-01"),
        (LAST, None, INPUTS, None, "executed", "C 1 -> 2"),
        (LAST, None, LAST, None, "executed", "the earlier result is no longer known"),
    ],
)
def test_outcome_and_reason(last, found, inputs, by, outcome, reason):
    assert explain(last, found, inputs, frozenset(), by) == (outcome, reason, by and "r1")


@pytest.mark.parametrize(
    ("last", "reason"),
    [
        (None, "MLflow run 1 was deleted"),
        (LAST, "C 1 -> 2; MLflow run 1 was deleted"),
        (INPUTS, "MLflow run 1 was deleted"),
    ],
)
def test_why_a_known_stage_runs_all_the_same(last, reason):
    assert explain(last, None, INPUTS, frozenset(), None, "MLflow run 1 was deleted") == ("executed", reason, None)


@pytest.mark.parametrize(
    ("known", "said"),
    [
        (None, "there is no earlier result to compare with"),
        ({"outs": [{"path": "a", "md5": "1"}, {"path": "b", "md5": "2"}]}, "reproduced: all outputs are the same"),
        ({"outs": [{"path": "a", "md5": "1"}, {"path": "b", "md5": "3"}]}, "not reproduced: b"),
    ],
)
def test_a_forced_run_says_whether_it_reproduced(known, said):
    assert reproduction(known, {"outs": [{"path": "a", "md5": "1"}, {"path": "b", "md5": "2"}]}) == said
