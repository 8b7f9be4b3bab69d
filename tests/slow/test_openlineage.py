"""What a run tells OpenLineage, by Airflow's own provider and a file as the transport."""

import json
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.support.strangers import Stranger

PROJECT = {
    "dvc.yaml": "stages:\n"
    "  one: {cmd: cp data/a.txt one.txt, deps: [data/a.txt], params: [p], outs: [one.txt]}\n"
    "  fails: {cmd: exit 65, deps: [one.txt], outs: [never.txt]}\n",
    "sub/dvc.yaml": "stages:\n"
    "  two: {wdir: work, cmd: cp ../../one.txt two.txt, deps: [../../one.txt], outs: [two.txt]}\n",
    "sub/work/keep": "",
    "params.yaml": "p: 1\n",
    "data/a.txt": "a\n",
}
DAG = """
import os

from dvc_airflow import DvcDag


def credentials():
    return {
        "endpointurl": os.environ["AWS_ENDPOINT_URL"],
        "access_key_id": os.environ["AWS_ACCESS_KEY_ID"],
        "secret_access_key": os.environ["AWS_SECRET_ACCESS_KEY"],
    }


DvcDag(
    "lineage",
    schedule=None,
    push=False,
    project_dir=os.environ["STRANGER"],
    remote_url=os.environ["STRANGER_REMOTE"],
    credentials=credentials,
)
"""


@pytest.fixture(scope="module")
def deployment(make_deployment):
    return make_deployment("openlineage")


@pytest.fixture(scope="module")
def told(deployment, tmp_path_factory):
    """Two runs, and the events of each; in the second one nothing has changed.

    No cache is shared, so each stage reaches the store with the credentials.
    """
    folder = tmp_path_factory.mktemp("openlineage")
    stranger, log = Stranger(folder, PROJECT), folder / "events.jsonl"
    (folder / "dags").mkdir()
    (folder / "dags" / "dag.py").write_text(DAG)
    env = {
        "AIRFLOW__CORE__DAGS_FOLDER": str(folder / "dags"),
        "AIRFLOW__OPENLINEAGE__TRANSPORT": json.dumps({"type": "file", "log_file_path": str(log), "append": True}),
        "STRANGER": str(stranger.path),
        "STRANGER_REMOTE": f"s3://{deployment.bucket}/lineage",
    }
    runs = []
    for _ in range(2):
        (run,) = deployment.dag({}, dag_id="lineage", **env)
        _, left = psutil.wait_procs(processes_in(deployment.project), timeout=10)
        runs.append({**run, "events": log.read_text(), "left": [process.cmdline() for process in left]})
        log.unlink()
    return runs


def processes_in(folder: Path) -> list[psutil.Process]:
    return [one for one in psutil.process_iter(["cwd"]) if one.info["cwd"] == str(folder)]


def last_event(run: dict[str, Any], job: str) -> dict[str, Any]:
    """The event of a task's end."""
    events = [json.loads(line) for line in run["events"].splitlines()]
    (found,) = [one for one in events if one["job"]["name"] == f"lineage.{job}" and one["eventType"] != "START"]
    return found


def datasets(event: dict[str, Any], kind: str) -> dict[tuple[str, str], str]:
    return {(one["namespace"], one["name"]): one["facets"]["version"]["datasetVersion"] for one in event[kind]}


@pytest.mark.parametrize(("number", "state", "outcome"), [(0, "success", "executed"), (1, "skipped", "unchanged")])
def test_a_stage_tells_its_data_and_how_it_ended_executed_or_skipped(deployment, told, number, state, outcome):
    run, first = told[number], told[0]
    event = last_event(run, "sub.two")
    result = run["returned"]["sub.two"]
    entry = result["lock"]["sub/dvc.lock"]["two"]
    namespace = f"s3://{deployment.bucket}/lineage"

    assert run["tasks"]["sub.two"] == state
    assert event["eventType"] == "COMPLETE"
    assert datasets(event, "inputs") == {(namespace, "one.txt"): entry["deps"][0]["md5"]}
    assert datasets(event, "outputs") == {(namespace, "sub/work/two.txt"): entry["outs"][0]["md5"]}
    assert {
        name: event["run"]["facets"]["dvc"][name] for name in ("stage", "outcome", "reason", "executed_in", "seconds")
    } == {
        "stage": "sub/dvc.yaml:two",
        "outcome": outcome,
        "reason": result["reason"],
        "executed_in": first["run_id"],
        "seconds": result["seconds"],
    }


def test_the_output_of_a_stage_is_the_same_dataset_as_the_input_of_the_next(told):
    made, read = (datasets(last_event(told[0], job), kind) for job, kind in (("one", "outputs"), ("sub.two", "inputs")))

    assert made == read


def test_a_failed_stage_is_told_without_data(told):
    event = last_event(told[0], "fails")

    assert event["eventType"] == "FAIL"
    assert event["inputs"] == event["outputs"] == []
    assert "dvc" not in event["run"]["facets"]


def test_no_secret_is_told(deployment, told):
    text = told[0]["events"] + told[1]["events"]

    assert "sub/work/two.txt" in text
    assert deployment.env["AWS_SECRET_ACCESS_KEY"] not in text
    assert "failed to extract" not in Path(deployment.log).read_text().lower()


def test_when_a_run_has_ended_its_end_is_told_and_no_process_is_left(told):
    for run in told:
        events = [json.loads(line) for line in run["events"].splitlines()]

        assert [one["eventType"] for one in events if one["job"]["name"] == "lineage"] == ["FAIL"]
        assert run["left"] == []
