"""The operators of `dvc_airflow`, as a DAG file makes them."""

from pathlib import Path

import pytest
from airflow.sdk import DAG

from dvc_airflow.dvc_config import has_default_remote
from dvc_airflow.operators import DvcPushOperator, DvcStageOperator
from dvc_airflow.project import DvcProjectError
from dvc_airflow.task_group import DvcTaskGroup
from tests.support.strangers import Stranger, dvc


@pytest.fixture
def stranger(tmp_path, monkeypatch):
    monkeypatch.setenv("DVC_GLOBAL_CONFIG_DIR", str(tmp_path / "global"))
    monkeypatch.setenv("DVC_SYSTEM_CONFIG_DIR", str(tmp_path / "system"))
    return Stranger(tmp_path, {"dvc.yaml": "stages: {a: {cmd: echo 1 > a.txt, outs: [a.txt]}}\n"})


def test_a_push_without_a_remote_is_an_error_of_the_dag_with_the_command_that_adds_one(stranger, tmp_path):
    with pytest.raises(DvcProjectError, match=rf"{stranger.path} has no default DVC remote\. Run `dvc remote add"):
        DvcPushOperator(task_id="push", project_dir=stranger.path)

    dvc(stranger.path, "remote", "add", "--default", "origin", str(tmp_path / "remote"))
    assert DvcPushOperator(task_id="push", project_dir=stranger.path).remote_url is None


@pytest.mark.parametrize("place", ["global", "system"])
def test_a_remote_of_the_user_or_the_machine_counts(stranger, tmp_path, place):
    (tmp_path / place).mkdir()
    (tmp_path / place / "config").write_text("[core]\n    remote = all\n['remote \"all\"']\n    url = /somewhere\n")

    assert has_default_remote(stranger.path)


def test_a_remote_that_only_the_dag_names_is_enough(stranger):
    assert DvcPushOperator(task_id="push", project_dir=stranger.path, remote_url="s3://b/p").remote_url == "s3://b/p"


@pytest.mark.parametrize("env", ["REGION", {"REGION": "north"}, ["REGION=north"], [1], ["a b"], None])
def test_variables_are_named_and_have_no_value_in_the_dag(stranger, env):
    with pytest.raises(ValueError, match="give names of variables that the worker has"):
        DvcStageOperator(task_id="a", project_dir=stranger.path, stage="a", command="x", env=env)


@pytest.mark.parametrize("warm", ["pandas", {"pandas": 1}, ["a b"], [1], None])
def test_what_is_to_be_warm_is_a_list_of_modules(stranger, warm):
    with pytest.raises(ValueError, match="warm: give the names of modules"):
        DvcStageOperator(task_id="a", project_dir=stranger.path, stage="a", command="x", warm=warm)


def test_the_variables_of_a_group_reach_each_stage_and_no_other_does(stranger, monkeypatch, tmp_path):
    monkeypatch.setenv("REGION", "north")
    monkeypatch.setenv("OTHER", "hunter2")
    with DAG("a", schedule=None):
        group = DvcTaskGroup(
            "g", project_dir=stranger.path, env=["REGION", "NONE"], graph_cache_dir=tmp_path / "graphs"
        )

    class Instance:
        dag_id, run_id, task_id, try_number = "a", "run", "g.a", 1

    environment = group.stage_tasks["a"].full_environment({"ti": Instance()})

    assert environment["REGION"] == "north"
    assert "NONE" not in environment
    assert "hunter2" not in str(environment)


@pytest.mark.parametrize("given", [str, Path, lambda path: lambda: str(path), lambda path: lambda: path])
def test_the_cache_may_be_a_text_or_a_path_or_what_gives_one(stranger, given):
    class Instance:
        dag_id, run_id = "a", "run"

    task = DvcStageOperator(
        task_id="a", project_dir=stranger.path, stage="a", command="x", cache_dir=given(stranger.cache)
    )

    assert task.project_run({"ti": Instance()}).cache_dir == stranger.cache


def test_stages_of_one_name_in_one_dag_have_a_history_each(stranger, tmp_path):
    with DAG("a", schedule=None):
        groups = [
            DvcTaskGroup(name, project_dir=stranger.path, graph_cache_dir=tmp_path / "graphs")
            for name in ("one", "two")
        ]

    assert [group.stage_tasks["a"]._has_namesake() for group in groups] == [True, True]


@pytest.mark.parametrize("name", ["credentials", "remote_options", "environment"])
def test_what_is_called_in_the_worker_is_a_function_and_its_value_is_not_shown(stranger, name):
    with pytest.raises(TypeError, match=rf"^{name}: give a function") as caught:
        DvcStageOperator(
            task_id="a", project_dir=str(stranger.path), stage="a", command="x", **{name: {"key": "hunter2"}}
        )

    assert "hunter2" not in str(caught.value)


def test_options_of_a_stage_that_is_not_there_are_refused_with_those_that_are(stranger, tmp_path):
    with (
        DAG("a", schedule=None),
        pytest.raises(DvcProjectError, match=r"has no stage b, but the DAG names it\. The stages are a\."),
    ):
        DvcTaskGroup("g", project_dir=str(stranger.path), stage_options={"b": {}}, graph_cache_dir=tmp_path)
