"""A DVC project that was written without knowing of Airflow, as a task group: see the folder any_project."""

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from dvc_airflow.project import load_project

HERE = Path(__file__).with_name("any_project")
SUMS, GRID = ("sum.low", "sum.high"), ("grid.1-red", "grid.1-blue", "grid.2-red", "grid.2-blue")
CACHED = ("numbers", *SUMS, *GRID, "score", "summary", "nested.join", "choose", "tuned", "greet")
ALWAYS = ("clock",)


@pytest.fixture(scope="module")
def deployment(make_deployment):
    return make_deployment("any")


def prepare(deployment, folder: Path, url: str) -> Path:
    """The project as its author leaves it: what dvc tracks is pushed and not there; one stage is frozen."""
    project = folder / "project"
    shutil.copytree(HERE / "project", project)

    def dvc(*arguments: str) -> None:
        done = subprocess.run(
            [sys.executable, "-m", "dvc", *arguments], cwd=project, env=deployment.env, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr

    dvc("init", "--no-scm", "--quiet")
    dvc("remote", "add", "--default", "origin", url)
    dvc("remote", "modify", "origin", "endpointurl", deployment.env["AWS_ENDPOINT_URL"])
    dvc("config", "cache.type", "hardlink,copy")
    dvc("add", "raw.csv")
    frozen = (project / "dvc.yaml").read_text()
    thawed = frozen.replace(
        "    frozen: true\n    cmd: echo it must not run && exit 1\n", "    cmd: echo old > old.txt\n"
    )
    assert thawed != frozen
    (project / "dvc.yaml").write_text(thawed)
    dvc("repro", "--single-item", "old")
    dvc("push")
    (project / "dvc.yaml").write_text(frozen)
    for name in ("raw.csv", "old.txt"):
        (project / name).unlink()
    shutil.rmtree(project / ".dvc" / "cache")
    return project


def run(deployment, project: Path, *steps: dict, **env: str) -> list[dict[str, Any]]:
    deployment.s3.create_bucket(Bucket=deployment.bucket) if deployment.bucket not in _buckets(deployment) else None
    dags = {"AIRFLOW__CORE__DAGS_FOLDER": str(HERE), "ANY_PROJECT": str(project)}
    return deployment.dag(*steps, dag_id="any_project", **dags, **env)


def _buckets(deployment) -> list[str]:
    return [bucket["Name"] for bucket in deployment.s3.list_buckets()["Buckets"]]


def is_stage(task_id: str) -> bool:
    return task_id.startswith("stages.") and task_id != "stages.prepare_run"


def outcomes(result: dict[str, Any]) -> dict[str, str]:
    return {
        task_id.removeprefix("stages."): value["outcome"]
        for task_id, value in result["returned"].items()
        if is_stage(task_id)
    }


def outputs(result: dict[str, Any], *, without: tuple[str, ...] = ALWAYS) -> dict[str, str]:
    found = {}
    for task_id, value in result["returned"].items():
        if is_stage(task_id) and task_id.removeprefix("stages.") not in without:
            for file, stages in value["lock"].items():
                for entry in stages.values():
                    found |= {f"{file}:{out['path']}": out["md5"] for out in entry["outs"]}
    return found


@pytest.fixture(scope="module")
def project(deployment, tmp_path_factory):
    return prepare(deployment, tmp_path_factory.mktemp("any"), f"s3://{deployment.bucket}/any/project")


@pytest.fixture(scope="module")
def shared(deployment, project, tmp_path_factory):
    """Two runs with a shared cache, and a third after a file has changed."""
    cache = str(tmp_path_factory.mktemp("cache"))
    first, second = run(deployment, project, {}, {}, ANY_CACHE=cache)
    code = project / "score.py"
    before = code.read_text()
    code.write_text(before + "# changed\n")
    (third,) = run(deployment, project, {}, ANY_CACHE=cache)
    code.write_text(before)
    return {"first": first, "second": second, "third": third}


@pytest.fixture(scope="module")
def apart(deployment, project, tmp_path_factory):
    """Two runs without a shared cache, each task in a directory tree of its own, with another remote."""
    folder = tmp_path_factory.mktemp("apart")
    copy = prepare(deployment, folder, f"s3://{deployment.bucket}/apart")
    first, second = run(deployment, copy, {}, {}, ANY_TREES=str(folder / "trees"))
    return {"first": first, "second": second, "trees": folder / "trees", "project": copy}


def test_the_graph_is_dvcs_own(project, tmp_path):
    stages = {stage.task_id: set(stage.upstream) for stage in load_project(project, tmp_path).stages}

    assert set(stages) == {*CACHED, *ALWAYS, "old"}
    assert stages["sum.low"] == stages["sum.high"] == {"numbers"}
    assert stages["grid.2-blue"] == {"sum@low"}
    assert stages["score"] == {"sum@low", "sum@high"}
    assert stages["summary"] == {"score", "numbers"}
    assert stages["tuned"] == {"choose"}
    assert stages["nested.join"] == {"old", "grid@1-red"}


@pytest.mark.parametrize("mode", ["shared", "apart"])
def test_the_first_run_executes_all_but_the_frozen_stage(mode, request):
    result = request.getfixturevalue(mode)["first"]

    assert result["state"] == "success"
    assert outcomes(result) == {**dict.fromkeys((*CACHED, *ALWAYS), "executed"), "old": "unchanged"}
    assert result["returned"]["stages.old"]["reason"].startswith("frozen in dvc.yaml")


@pytest.mark.parametrize("mode", ["shared", "apart"])
def test_the_second_run_executes_only_what_dvc_always_runs(mode, request):
    result = request.getfixturevalue(mode)["second"]

    assert result["state"] == "success"
    assert outcomes(result) == {**dict.fromkeys((*CACHED, "old"), "unchanged"), **dict.fromkeys(ALWAYS, "executed")}
    assert "always_changed in dvc.yaml" in result["returned"]["stages.clock"]["reason"]
    first = request.getfixturevalue(mode)["first"]
    assert result["returned"]["stages.summary"]["executed_in"] == first["run_id"]
    assert outputs(result) == outputs(first)


def test_a_changed_file_runs_its_stage_and_no_other(shared):
    assert {name for name, outcome in outcomes(shared["third"]).items() if outcome == "executed"} == {"score", *ALWAYS}
    assert shared["third"]["returned"]["stages.score"]["reason"] == "score.py changed"


def test_both_ways_of_sharing_come_to_the_same(shared, apart):
    assert outputs(shared["first"]) == outputs(apart["first"])


def test_each_task_had_a_tree_of_its_own_and_left_it_as_it_was(apart):
    trees = sorted(path.name for path in apart["trees"].iterdir())

    assert len(trees) == len(CACHED) + len(ALWAYS) + 2
    for tree in apart["trees"].iterdir():
        left = {str(path.relative_to(tree)) for path in tree.rglob("*") if path.is_file()}
        there = {str(path.relative_to(apart["project"])) for path in apart["project"].rglob("*") if path.is_file()}
        assert left == there


@pytest.mark.parametrize(("mode", "prefix"), [("shared", "any/project"), ("apart", "apart")])
def test_the_remote_has_every_object_uncached_metrics_and_all_files_of_folders_too(mode, prefix, request, deployment):
    result = request.getfixturevalue(mode)["first"]
    objects = deployment.objects()

    assert result["returned"]["dvc_push"]["objects"] > 400
    for md5 in outputs(result).values():
        assert f"{prefix}/files/md5/{md5[:2]}/{md5[2:]}" in objects


def test_the_bytes_are_right_too(shared, deployment, project, tmp_path):
    """What dvc itself pulls, with the lock of the run."""
    copy = tmp_path / "copy"
    shutil.copytree(project, copy)
    lock: dict[str, Any] = {}
    for task_id, value in shared["second"]["returned"].items():
        if is_stage(task_id):
            for file, stages in value["lock"].items():
                lock.setdefault(file, {}).update(stages)
    for file, stages in lock.items():
        with open(copy / file, "w") as stream:
            YAML().dump({"schema": "2.0", "stages": stages}, stream)

    done = subprocess.run(
        [sys.executable, "-m", "dvc", "pull", "summary", "sum@low", "sum@high", "numbers", "nested/dvc.yaml:join"],
        cwd=copy, env=deployment.env, capture_output=True, text=True,
    )  # fmt: skip

    assert done.returncode == 0, done.stderr
    assert (copy / "sums" / "low.txt").read_text() == f"{sum(range(200)) + 200 * 3}\n"
    assert len(list((copy / "numbers").iterdir())) == 400
    assert (
        (copy / "summary.txt")
        .read_text()
        .endswith(f"high,{sum(range(200, 400)) + 200 * 3}\nlow,{sum(range(200)) + 200 * 3}\n10\n")
    )
    assert (copy / "work" / "joined.txt").read_text() == "old\n1 red hello\n"
