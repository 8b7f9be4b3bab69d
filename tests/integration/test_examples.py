"""The examples: each by Airflow, with a folder as the remote."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from dvc_airflow.project import load_project
from tests.support.copies import ROOT
from tests.support.examples import EXAMPLES, Example


@pytest.fixture(scope="module")
def examples(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("examples") / "examples"
    shutil.copytree(ROOT / "examples", folder)
    return folder


@pytest.fixture(scope="module")
def deployment(make_deployment):
    made = make_deployment("examples")
    made.airflow("pools", "set", "training", "1", "one at a time")
    return made


#: the others are in the slow tests, for which what they need is installed
PLAIN = [example for example in EXAMPLES if not example.extra]


@pytest.fixture(scope="module", params=PLAIN, ids=[example.name for example in PLAIN])
def runs(deployment, examples, request) -> dict[str, Any]:
    """Two runs of an example."""
    first, second = run(deployment, examples, request.param, {}, {})
    return {"example": request.param, "first": first, "second": second}


def run(deployment, examples: Path, example: Example, *steps: dict, **env: str) -> list[dict[str, Any]]:
    return deployment.dag(*steps, dag_id=example.name, AIRFLOW__CORE__DAGS_FOLDER=str(examples / example.name), **env)


def outcomes(result: dict[str, Any], example: Example) -> dict[str, str]:
    stages = {spec.task_id: spec.name for spec in example_stages(example)}
    returned = result["returned"]
    return {name: returned[task_id]["outcome"] for task_id, name in stages.items()}


def example_stages(example: Example) -> Any:
    return load_project(ROOT / "examples" / example.name / "project", ROOT / "build" / "tests" / "graphs").stages


def test_the_first_run_executes_all_stages_and_pushes_what_they_made(runs):
    assert runs["first"]["state"] == "success"
    assert outcomes(runs["first"], runs["example"]) == dict.fromkeys(runs["example"].stages, "executed")
    assert runs["first"]["returned"]["dvc_push"]["objects"] > 0


def test_the_second_run_executes_none(runs):
    assert runs["second"]["state"] == "success"
    assert outcomes(runs["second"], runs["example"]) == dict.fromkeys(runs["example"].stages, "unchanged")


def test_the_worker_says_where_orders_come_from_and_where_the_report_goes(deployment, examples, tmp_path):
    (transfers,) = [example for example in EXAMPLES if example.name == "transfers"]
    shutil.copytree(examples / "transfers", tmp_path / "examples" / "transfers")
    shutil.rmtree(tmp_path / "examples" / "transfers" / "remote", ignore_errors=True)
    (tmp_path / "orders.csv").write_text("id,item\n1,pot\n")
    addresses = {"ORDERS_URL": (tmp_path / "orders.csv").as_uri(), "REPORTS_FOLDER": str(tmp_path / "reports")}

    (result,) = run(deployment, tmp_path / "examples", transfers, {"conf": {}}, **addresses)

    assert result["state"] == "success"
    assert (tmp_path / "reports" / "report.json").read_text() == '{"pot": 1}'


def test_the_stages_of_the_examples_are_not_those_of_the_project(project, tmp_path):
    stages = [stage.name for stage in load_project(project, tmp_path).stages]

    assert stages == ["get_data", "preprocess", "train_and_evaluate"]
