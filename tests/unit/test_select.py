"""Which stages become tasks: DVC's names, dbt's signs."""

import pytest

from dvc_airflow.project import DvcProjectError, StageSpec
from dvc_airflow.select import selected


def stage(name, *upstream, tags=()):
    return StageSpec(name, name, "true", None, upstream, frozen=False, tags=tags)


# load -> prepare@a, prepare@b -> train -> report; sub: clean -> sum
STAGES = (
    stage("load"),
    stage("prepare@a", "load", tags=("nightly",)),
    stage("prepare@b", "load"),
    stage("train", "prepare@a", "prepare@b"),
    stage("report", "train", tags=("nightly", "slow")),
    stage("sub/dvc.yaml:clean"),
    stage("sub/dvc.yaml:sum", "sub/dvc.yaml:clean"),
)
ALL = [one.name for one in STAGES]


def names(select=(), exclude=()):
    return [one.name for one in selected(STAGES, select, exclude)]


@pytest.mark.parametrize(
    ("select", "found"),
    [
        ((), ALL),
        ([], ALL),
        ("train", ["train"]),
        (["train"], ["train"]),
        ("+train", ["load", "prepare@a", "prepare@b", "train"]),
        ("train+", ["train", "report"]),
        ("+train+", ["load", "prepare@a", "prepare@b", "train", "report"]),
        ("1+train", ["prepare@a", "prepare@b", "train"]),
        ("load+1", ["load", "prepare@a", "prepare@b"]),
        ("prepare@*", ["prepare@a", "prepare@b"]),
        ("prepare", ["prepare@a", "prepare@b"]),
        ("prepare@a+", ["prepare@a", "train", "report"]),
        ("sub/dvc.yaml:*", ["sub/dvc.yaml:clean", "sub/dvc.yaml:sum"]),
        ("sub/dvc.yaml", ["sub/dvc.yaml:clean", "sub/dvc.yaml:sum"]),
        ("dvc.yaml", ALL[:5]),
        ("dvc.yaml:train", ["train"]),
        ("dvc.yaml:*", ALL[:5]),
        ("dvc.yaml:prepare", ["prepare@a", "prepare@b"]),
        ("+sub/dvc.yaml:sum", ["sub/dvc.yaml:clean", "sub/dvc.yaml:sum"]),
        ("tag:nightly", ["prepare@a", "report"]),
        ("+tag:slow", ALL[:5]),
        (["report", "load"], ["load", "report"]),
    ],
)
def test_a_selector_finds_what_dvc_or_dbt_would_find(select, found):
    assert names(select) == found


def test_what_is_excluded_is_left_out_of_all_or_of_what_is_selected():
    assert names(exclude="sub/dvc.yaml:*") == ALL[:5]
    assert names("+train", exclude="+prepare@*") == ["train"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"select": "trian"}, r"select='trian' matches no stage\. Did you mean train\?"),
        ({"select": "+"}, r"select='\+' matches no stage"),
        ({"select": ""}, r"select='' matches no stage"),
        ({"exclude": "x/dvc.yaml:*"}, r"exclude='x/dvc.yaml:\*' matches no stage"),
        ({"select": "tag:daily"}, r"The tags in dvc\.yaml \(meta: tags\) are nightly, slow\."),
        ({"select": [1]}, r'give texts such as "train"'),
        ({"select": "train", "exclude": "train"}, "no stage is left"),
    ],
)
def test_what_matches_nothing_is_an_error_with_what_there_is(arguments, message):
    with pytest.raises(DvcProjectError, match=message):
        names(**arguments)


def test_a_project_without_stages_is_called_so():
    with pytest.raises(DvcProjectError, match=r"^the project's dvc\.yaml defines no stage"):
        selected((), (), ())
