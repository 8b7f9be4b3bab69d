"""A plan says what the run then does and says, wherever it is definite; and nothing is written for it."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile

import pytest

from dvc_airflow import workspace
from dvc_airflow.__main__ import main
from dvc_airflow.dag import DvcDag
from dvc_airflow.errors import RemoteError, TaskError
from dvc_airflow.lockfile import lock_text
from dvc_airflow.plan import planner_of
from dvc_airflow.project import DvcProjectError
from dvc_airflow.project_run import ProjectRun
from tests.support.planned_project import CHAIN, Place
from tests.support.plans import nothing_written
from tests.support.proxy import proxy_to


def test_a_chain_does_what_is_planned(tmp_path):
    """What else may happen to results, and all kinds of stages: tests/slow/test_plans.py."""
    place = Place(tmp_path, CHAIN)
    stranger = place.stranger
    certain = lambda *outcomes: dict(zip(("load", "train", "report"), outcomes, strict=True))  # noqa: E731

    assert place.run() == certain("executed", "depends", "depends")
    stranger.write({"params.yaml": "rate: 2.5\ndepth: 3\n"})
    assert place.run() == certain("unchanged", "executed", "depends")
    stranger.write({"params.yaml": CHAIN["params.yaml"]})
    assert place.run() == certain("unchanged", "restored", "restored")
    assert place.run("another") == certain("restored", "restored", "restored")
    place.remove("load", where=(stranger.cache, stranger.remote))  # the list of a folder
    assert place.run() == certain("executed", "depends", "depends")


def test_what_is_damaged_in_the_cache_is_restored_from_the_remote_and_stays_where_it_is(tmp_path):
    place = Place(tmp_path, CHAIN)
    place.run()
    (damaged,) = place.objects("train", (place.stranger.cache,))
    damaged.chmod(0o644)
    damaged.write_text("damaged")

    assert [str(stage.outcome) for stage in place.plan().stages] == ["unchanged"] * 3
    assert damaged.read_text() == "damaged"
    assert place.run()["train"] == "unchanged"


def test_values_of_a_run_are_those_of_its_form_and_a_backfill_makes_no_result_twice(tmp_path):
    place = Place(tmp_path, CHAIN)
    place.run()

    with place.planner() as planner:
        plans = [
            planner.plan(f"run {name}", planner.files_with(values, "--conf"))
            for name, values in enumerate(({"rate": 2}, {"rate": 2.0, "depth": 3}, {"rate": 0.5}, {"rate": 2}))
        ]
        with pytest.raises(TaskError, match=r"have no value rat\. Did you mean rate"):
            planner.files_with({"rat": 1}, "--conf")

    outcomes = [[str(stage.outcome) for stage in plan.stages] for plan in plans]
    assert outcomes[0] == ["unchanged", "executed", "None"]
    assert outcomes[1] == ["unchanged", "None", "None"]
    assert outcomes[2] == ["unchanged", "restored", "restored"]
    assert outcomes[3] == outcomes[1]
    assert [stage.made_in for stage in plans[3].stages] == [None, "run 0", "run 0"]
    assert [stage.seconds is None for stage in plans[0].stages] == [True, False, False]
    assert [stage.seconds for stage in plans[3].stages] == [None] * 3
    assert plans[0].stages[1].reason == "rate 0.5 -> 2.0"
    assert plans[1].stages[1].reason == "depends on what train makes for run 0, whose inputs are the same"
    assert plans[2].stages[1].reason.startswith("rate 2.0 -> 0.5; executed by ")


def test_the_usual_time_is_the_median_of_the_executions_of_the_dag(tmp_path):
    place = Place(tmp_path, CHAIN)
    place.run()
    taken = [place.results["train"].seconds]
    for rate in (2.5, 3.5):
        place.stranger.write({"params.yaml": f"rate: {rate}\ndepth: 3\n"})
        taken.append(place.stranger.run()["train"].seconds)
    place.stranger.write({"params.yaml": "rate: 4.5\ndepth: 3\n"})

    load, train, report = place.plan().stages

    assert (load.seconds, train.seconds) == (None, round(sorted(taken)[1], 2))
    assert report.outcome is None
    assert report.seconds is not None
    assert [stage.seconds for stage in place.plan("another").stages] == [None] * 3


def test_stages_that_the_dag_leaves_out_are_as_in_the_projects_lock(tmp_path):
    place = Place(tmp_path, CHAIN)
    place.run()

    with pytest.raises(TaskError, match=r"stage train needs what stage load makes, which this DAG leaves out"):
        place.plan(select=["train+"])

    place.stranger.write({"dvc.lock": lock_text({"load": place.results["load"].entry})})
    assert [stage.stage for stage in place.plan(select=["train+"]).stages] == ["train", "report"]
    place.stranger.write({"params.yaml": "rate: 8.5\ndepth: 3\n"})
    shutil.rmtree(place.stranger.cache / "files")
    shutil.rmtree(place.stranger.remote / "files")
    with pytest.raises(TaskError, match=r"out(/one)?: missing|neither in the cache nor in the remote"):
        place.plan(select=["train+"])


def test_a_remote_that_is_silent_is_named_soon(tmp_path, services):
    place = Place(tmp_path, CHAIN, cache=False)
    with proxy_to(services["env"]["AWS_ENDPOINT_URL"]) as store:
        store.silent = lambda line: True
        run = ProjectRun(
            place.stranger.path,
            dag_id="dag",
            run_id="plan",
            remote_url="s3://plans/one",
            remote_options={"connect_timeout": 2, "read_timeout": 2},
            credentials=lambda: {"endpointurl": store.url, "access_key_id": "a", "secret_access_key": "b"},
        )

        with planner_of(run, tmp_path / "graphs") as planner, pytest.raises(RemoteError, match=f"{store.url} does not"):
            planner.plan()


CONFIG = "[core]\n    analytics = false\n    remote = store\n['remote \"store\"']\n    url = ../../remote\n"


@pytest.fixture
def checkout(tmp_path, monkeypatch, capsys):
    """A checkout with a remote, in which a DAG has run; and what the command line says of it."""
    for name in ("AIRFLOW_HOME", "DVC_GLOBAL_CONFIG_DIR", "DVC_SYSTEM_CONFIG_DIR"):
        monkeypatch.setenv(name, str(tmp_path / name))
    place = Place(tmp_path, CHAIN | {".dvc/config": CONFIG}, cache=False)

    def command(*arguments: str, code: int = 0) -> str:
        own = place.stranger
        with nothing_written(own.path, own.remote):
            assert main(["plan", str(own.path), *arguments]) == code
        printed = capsys.readouterr()
        return printed.err if code else printed.out

    command.place = place
    return command


def test_the_command_plans_a_checkout_by_its_remote_and_by_what_its_dag_did(checkout):
    place, remote = checkout.place, checkout.place.stranger.remote
    first = f"no DAG has run this project yet, no cache, remote {remote}"
    assert checkout().startswith(f"{first} (which does not exist: as before the first push, or if its disk is not")
    place.run("own")

    text = checkout("--conf", '{"depth": 4}')
    document = json.loads(checkout("--json", "--params", '{"run_every_stage": true}'))

    assert text.startswith(f"DAG own, no cache, remote {remote}\n")
    assert "depth 3 -> 4" in text
    assert "Executed: 1 of 3 stages; 1 depends on what others make." in text
    assert {stage["outcome"] for stage in document["runs"][0]["stages"]} == {"executed"}
    assert (document["dag"], document["dags_with_runs"]) == ("own", ["own"])
    assert document["seconds"]["executed"] == document["seconds"]["at_most"] > 0
    assert "| train | executed | " in checkout("--md", "--conf", '{"rate": 1}')
    assert checkout("--dag", "other").startswith("DAG other, which has not run this project yet (own has), no cache,")
    assert "no earlier" not in checkout("--dag", "other")

    place.run("second")
    assert "several DAGs have run stages of this project: own, second. Name one with --dag" in checkout(code=1)

    remote.rename(remote.with_name("away"))
    remote.mkdir()  # where a share would be mounted
    assert checkout().startswith(f"{first} (which is empty: ")
    assert json.loads(checkout("--json"))["remote_lacks"] == "is empty"


def test_a_remote_that_is_not_there_is_named_where_data_are_missing(checkout):
    stranger = checkout.place.stranger
    tracked = "outs:\n- {md5: 0cc175b9c0f1b6a831c399e269772661, hash: md5, path: data}\n"
    stranger.write({"data.dvc": tracked, "dvc.yaml": "stages: {use: {cmd: cp data out, deps: [data], outs: [out]}}\n"})
    stranger.commit()

    said = checkout(code=1)

    assert "data: missing from the cache and the store" in said
    assert f"The folder of the remote, {stranger.remote}, does not exist: as before the first push" in said


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--conf", "{"], "--conf is not JSON"),
        (["--conf", "[1]"], "--conf must be a mapping"),
        (["--conf", '{"dept": 1}'], "have no value dept. Did you mean depth?"),
        (["--conf", '{"depth": "x"}'], "depth must be of the type that it has in params.yaml"),
        (["--conf", '{"run_every_stage": 1}'], "run_every_stage must be true or false"),
        (["--json", "--md"], "--json and --md: give one of them"),
        (["--remote", "other"], "has no DVC remote other. It has store."),
        (["--cache-dir", "gone"], "--cache-dir gone is not a folder"),
        (["--select", "trian"], "matches no stage. Did you mean train?"),
    ],
)
def test_what_is_wrong_is_one_line(checkout, arguments, message):
    said = checkout(*arguments, code=1)

    assert message in said
    assert said.startswith("error: ")
    assert said.count("\n") == 1


def test_without_a_default_remote_a_plan_is_refused_as_the_dag_is_that_pushes(checkout):
    """Also where only .dvc/config.local has one, which tasks do not read; and not where the DAG does not push."""
    own = checkout.place.stranger
    own.write({".dvc/config": CONFIG.replace("    remote = store\n", "")})
    no_remote = f"{own.path} has no default DVC remote. Run `dvc remote add --default NAME URL`"
    with pytest.raises(DvcProjectError, match=re.escape(no_remote)):
        DvcDag("own", project_dir=own.path, graph_cache_dir=own.path.parent / "graphs")

    assert checkout(code=1).startswith(f"error: {no_remote}")
    assert checkout("--no-push").startswith("no DAG has run this project yet, cache ")
    assert "no cache, remote " in checkout("--remote", "store").splitlines()[0]
    own.write({".dvc/config.local": CONFIG})
    assert checkout(code=1).startswith(f"error: {no_remote}")


def test_a_project_that_does_not_parse_is_shown_with_the_line(checkout):
    checkout.place.stranger.write({"dvc.yaml": "stages:\n  load:\n    cmd: true\n    outputs: [x]\n"})

    said = checkout(code=1)

    assert said.startswith("error: ")
    assert "dvc.yaml" in said
    assert "outputs" in said


def test_a_temporary_folder_that_cannot_be_used_is_one_line(checkout, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))

    said = checkout("--dag", "own", code=1)

    assert said.startswith(f"error: {tmp_path / 'gone'}")
    assert said.endswith(": No such file or directory\n")


def test_what_a_killed_plan_left_is_removed_by_the_next_one(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(workspace, "YOUNG_SECONDS", 0)
    code = """
import os, signal
from dvc_airflow.workspace import private_folder
with private_folder():
    os.kill(os.getpid(), signal.SIGKILL)
"""
    env = {**os.environ, "TMPDIR": str(tmp_path), "PYTHONPATH": os.pathsep.join(sys.path)}
    assert subprocess.run([sys.executable, "-c", code], env=env).returncode == -signal.SIGKILL
    (left,) = tmp_path.iterdir()

    with workspace.private_folder() as first, workspace.private_folder() as second:
        assert not left.exists()
        assert sorted(tmp_path.iterdir()) == sorted([first, second])
    assert list(tmp_path.iterdir()) == []
