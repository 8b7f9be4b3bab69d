"""The operators of `dvc_airflow`, as a DAG file makes them."""

from pathlib import Path

import pytest
from airflow.sdk import DAG

from dvc_airflow.assets import output_asset
from dvc_airflow.dag import DvcDag
from dvc_airflow.dvc_config import lacks_remote, remote_address
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

    assert lacks_remote(stranger.path) is None


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


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ({"on_restored": "sucess"}, r"^on_restored='sucess': give 'skip' or 'success'\. Did you mean 'success'\?$"),
        ({"on_restored": "Skipped"}, r"^on_restored='Skipped': give 'skip' or 'success'\. Did you mean 'skip'\?$"),
        ({"on_restored": None}, r"^on_restored=None: give 'skip' or 'success'\.$"),
        ({"on_restored": 1}, r"^on_restored=1: give 'skip' or 'success'\.$"),
        ({"emit_assets": "bydate"}, r"give False or True or 'by_date'\. Did you mean 'by_date'\?$"),
        ({"emit_assets": 1}, r"^emit_assets=1: give False or True or 'by_date'\.$"),
    ],
)
def test_a_word_that_an_argument_does_not_know_is_an_error_of_the_dag_with_the_nearest_one(
    stranger, tmp_path, argument, message
):
    with pytest.raises(ValueError, match=message):
        DvcDag(
            "a", project_dir=stranger.path, remote_url="s3://b/p", graph_cache_dir=tmp_path / "graphs",
            schedule=None, **argument,
        )  # fmt: skip


def emitting(stranger, tmp_path, **arguments):
    return DvcTaskGroup(
        project_dir=stranger.path, remote_url="s3://b/p", graph_cache_dir=tmp_path / "graphs", push=True,
        emit_assets=True, **arguments,
    )  # fmt: skip


def test_two_projects_in_one_dag_have_assets_of_their_own(stranger, tmp_path):
    with DAG("a", schedule=None):
        pushes = [emitting(stranger, tmp_path, group_id=name).rendered.push for name in ("one", "two")]

    assert [push.outlets for push in pushes] == [
        [output_asset("a", "a.txt", "one")],
        [output_asset("a", "a.txt", "two")],
    ]
    assert len({asset.name for push in pushes for asset in push.outlets}) == 2
    assert len({asset.uri for push in pushes for asset in push.outlets}) == 2


def test_two_tasks_with_the_same_assets_are_refused(stranger, monkeypatch, tmp_path):
    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path))
    push = {"project_dir": stranger.path, "remote_url": "s3://b/p", "emit_assets": True}
    with DAG("a", schedule=None):
        DvcPushOperator(task_id="one", **push)
        with pytest.raises(
            ValueError, match=r"^tasks one and two both emit the Asset a/a\.txt\. Leave emit_assets out"
        ):
            DvcPushOperator(task_id="two", **push)


def test_assets_need_the_id_of_a_dag(stranger, monkeypatch, tmp_path):
    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path))
    with pytest.raises(ValueError, match=r"^task push: emit_assets needs the DAG's id\. Create the task inside `with"):
        DvcPushOperator(task_id="push", project_dir=stranger.path, remote_url="s3://b/p", emit_assets=True)


def test_an_asset_has_an_address_that_a_database_takes_whatever_the_names():
    asset = output_asset("模型", "a b/é?#@.csv", "group")

    assert asset.name == "模型:group/a b/é?#@.csv"
    assert asset.uri == "x-dvc://outputs/%E6%A8%A1%E5%9E%8B%3Agroup/a%20b/%C3%A9%3F%23%40.csv"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("s3://bucket/a", "s3://bucket/a"),
        ("ssh://user:hunter2@host:22/a", "ssh://host:22/a"),
        ("https://host/a?sig=hunter2#x", "https://host/a"),
        ("/a/b@c?d", "/a/b@c?d"),
    ],
)
def test_the_address_of_a_remote_is_shown_without_credentials(stranger, url, shown):
    assert remote_address(stranger.path, url, {}) == shown


def test_a_remote_that_only_dvcs_own_settings_know_has_no_address_to_show(stranger):
    assert remote_address(stranger.path, None, {}) is None


def test_an_airflow_without_partitions_of_events_is_named(stranger, monkeypatch, tmp_path):
    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path))
    monkeypatch.delattr("airflow.sdk.execution_time.context.OutletEventAccessor.add_partitions")
    with (
        DAG("a", schedule=None),
        pytest.raises(ValueError, match=r"^emit_assets='by_date' needs Airflow 3\.3 or newer"),
    ):
        DvcPushOperator(task_id="push", project_dir=stranger.path, remote_url="s3://b/p", emit_assets="by_date")
