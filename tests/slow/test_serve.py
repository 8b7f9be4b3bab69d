"""`make serve`, used over Airflow's REST API as the web UI does: backfills, approval, roll-back, a new champion."""

import json
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import requests

from include.services.embedded.guard import descendants
from ml_operators.notes import MORE
from tests.support.airflow_api import wait_for
from tests.support.browser import chromium
from tests.support.served import STAGES, Served, served

APPROVAL = "approve_promotion"
# The files of the first two dates have the same rows; the third date has no file.
FIRST, SAME, MISSING = (f"2026-03-0{day}" for day in range(1, 4))
OTHER_MODEL = {"model.C": 3.0}
REFUSED_BY_THE_GATE = {"registry.minimum": 1.0}  # so that nobody is asked, and the run does not wait


@pytest.fixture(scope="module")
def airflow(copy_project: Callable[[], Path]) -> Iterator[Served]:
    with served(copy_project(), first=FIRST, with_rows=(FIRST, SAME)) as airflow:
        yield airflow


def test_it_says_where_everything_is_but_not_the_password(airflow):
    mlflow = re.search(r"MLflow  (\S+)", airflow.said)[1]
    assert airflow.password not in airflow.said
    assert requests.get(f"{airflow.url}/api/v2/dags", timeout=30).status_code == 401
    assert requests.get(f"{mlflow}/health", timeout=30).ok


def test_everything_listens_on_loopback_alone(airflow):
    pids = {airflow.front.pid, *(child.pid for child in descendants(airflow.front.pid))}
    found = [one for one in psutil.net_connections("inet") if one.pid in pids and one.status == psutil.CONN_LISTEN]

    assert len(found) >= 3  # Airflow, MLflow, the store
    assert {one.laddr.ip for one in found} == {"127.0.0.1"}


# Backfills


@pytest.fixture(scope="module")
def backfilled(airflow: Served) -> list[dict[str, dict[str, Any]]]:
    """A backfill with a manual run beside it, and then the same dates again: each run by its date."""
    found = []
    for number in range(2):
        airflow.backfill(FIRST, MISSING, at_once=3, conf=REFUSED_BY_THE_GATE)
        if number == 0:
            airflow.trigger("beside", **{"data.source": "sklearn:iris", **OTHER_MODEL, **REFUSED_BY_THE_GATE})
        states = airflow.ended("backfill__", 3, 400)
        found.append({run_id[10:20]: looked_at(airflow, run_id, state) for run_id, state in states.items()})
    airflow.finished("beside", 120)
    return found


def looked_at(airflow: Served, run_id: str, state: str) -> dict[str, Any]:
    """What there is to know of a run now; a second backfill replaces it."""
    note = airflow.runs(re.escape(run_id) + "$")[run_id]["note"]
    run = {"run_id": run_id, "state": state, "tasks": airflow.tasks(run_id), "note": note}
    if state == "success":
        run["outcomes"] = airflow.outcomes(run_id)
        body = airflow.deployment.s3.get_object(
            Bucket=airflow.deployment.bucket, Key=airflow.returned(run_id, "record_lineage")["key"]
        )["Body"]
        run["manifest"] = json.loads(body.read())
    else:
        run["log"] = airflow.log(run_id, "resolve_config", 1)
        run["detail"] = airflow.detail(re.escape(run_id))
    return run


def detail(runs: dict[str, dict[str, Any]]) -> str:
    """Why runs failed, for a person."""
    return "\n".join(run["detail"] for run in runs.values() if "detail" in run)


def test_dates_succeed_side_by_side_and_the_one_without_a_file_fails_alone(backfilled):
    first = backfilled[0]

    states = {day: run["state"] for day, run in first.items()}
    assert states == {FIRST: "success", SAME: "success", MISSING: "failed"}, detail(first)
    tasks = [task for run in first.values() for task in run["tasks"].values() if task["start_date"]]
    spans = [(task["start_date"], task["end_date"], task["dag_run_id"]) for task in tasks]
    assert any(a[0] < b[0] < a[1] and a[2] != b[2] for a in spans for b in spans)


def test_the_date_without_a_file_names_it_and_is_not_retried(backfilled):
    run = backfilled[0][MISSING]
    task = run["tasks"]["resolve_config"]

    assert (task["state"], task["try_number"]) == ("failed", 1)
    assert f"iris/{MISSING}.csv" in run["log"]


def test_each_date_has_its_own_data_and_lineage_and_the_same_rows_train_once(backfilled, airflow):
    first = backfilled[0]
    manifests = {day: run["manifest"] for day, run in first.items() if day != MISSING}

    for day, manifest in manifests.items():
        assert manifest["config"]["data"]["source"] == f"s3://dated/iris/{day}.csv"
        assert manifest["airflow"]["run_id"] == first[day]["run_id"]
        landed = airflow.deployment.s3.head_object(Bucket="dated", Key=f"iris/{day}.csv")["ETag"].strip('"')
        assert manifest["config"]["data"]["version"].strip('"').endswith(landed)
    trained = {day: manifest["mlflow_run"]["run_id"] for day, manifest in manifests.items()}
    assert trained[FIRST] == trained[SAME] != airflow.returned("beside", "record_lineage")["mlflow_run"]["run_id"]
    assert [first[day]["outcomes"][2] for day in (FIRST, SAME)].count("executed") == 1


def test_a_second_backfill_executes_no_stage(backfilled):
    first, second = backfilled

    assert {day: run["state"] for day, run in second.items()} == {day: run["state"] for day, run in first.items()}, (
        detail(first) + detail(second)
    )
    for day in (FIRST, SAME):
        assert "executed" not in second[day]["outcomes"]
        assert second[day]["manifest"]["mlflow_run"] == first[day]["manifest"]["mlflow_run"]


def test_each_stage_has_its_outcome_and_reason_as_a_note_and_the_run_lists_them(backfilled):
    for runs in backfilled:
        run = runs[FIRST]
        notes = [run["tasks"][f"pipeline.{stage}"]["note"] for stage in STAGES]
        assert [note.partition(": ")[0] for note in notes] == run["outcomes"]
        assert all(len(note.partition(": ")[2]) > 10 for note in notes)
        for stage, outcome in zip(STAGES, run["outcomes"], strict=True):
            assert re.search(rf"^{outcome}: .*\b{stage}\b", run["note"], re.MULTILINE), run["note"]


def test_a_link_without_an_address_is_no_button(backfilled, airflow):
    """The store of `make serve` has no console, so there is no page for an object."""
    task = "dags/ml_pipeline/dagRuns/beside/taskInstances/pipeline.train_and_evaluate"
    links = airflow.ask("GET", f"{task}/links")["extra_links"]
    empty = [name for name, address in links.items() if not address]
    with chromium() as browser:
        page = browser.new_page()
        page.set_default_timeout(60_000)
        page.goto(f"{airflow.url}/dags/ml_pipeline/runs/beside/tasks/pipeline.train_and_evaluate/details")
        page.fill("[name=username]", "admin")
        page.fill("[name=password]", airflow.password)
        page.click("[type=submit]")
        page.get_by_role("link", name="MLflow run", exact=True).wait_for()
        shown = page.locator("body").inner_text()

    assert (set(links) - set(empty), len(empty)) == ({"MLflow run"}, 3)
    assert not [name for name in empty if name in shown]


def test_nobody_is_asked_about_a_model_that_the_gate_refuses(backfilled, airflow):
    tasks = airflow.tasks("beside")

    assert (tasks[APPROVAL]["state"], tasks["promote_model"]["state"]) == ("success", "success")
    assert airflow.returned("beside", "promote_model")["passed"] is False


def test_a_hand_over_that_was_changed_is_refused_and_not_retried(airflow, backfilled):
    run_id = "changed_hand_over"
    airflow.trigger(run_id, **{"data.source": "sklearn:iris", **REFUSED_BY_THE_GATE})  # what the backfill made
    airflow.finished(run_id)
    result = airflow.returned(run_id, "pipeline.get_data")
    result["lock"]["dvc.lock"]["get_data"]["outs"][0]["md5"] = "0" * 32
    path = f"dags/ml_pipeline/dagRuns/{run_id}/taskInstances/pipeline.get_data/xcomEntries/return_value"
    airflow.ask("PATCH", path, json={"value": result})

    airflow.clear(run_id, "pipeline.preprocess")

    wait_for(lambda: airflow.tasks(run_id)["pipeline.preprocess"]["state"] == "failed", 60)
    assert airflow.tasks(run_id)["pipeline.preprocess"]["try_number"] == 2  # the first was the good one
    said = "the result of task pipeline.get_data (its XCom) was truncated or changed"
    assert said in airflow.log(run_id, "pipeline.preprocess", 2)


# Approval, champions, roll-back


def open_request(airflow: Served, run_id: str) -> dict[str, Any] | None:
    """What a person is asked about the run now."""
    path = f"dags/ml_pipeline/dagRuns/{run_id}/hitlDetails?response_received=false"
    found = airflow.ask("GET", path)["hitl_details"]
    return found[0] if found else None


def answer(airflow: Served, run_id: str, choice: str) -> None:
    """Answer, and wait until the run has succeeded.

    Airflow may ask again: an answer that comes before its scheduler has noticed that the task waits makes it try the
    task again. No person is that quick.
    """
    path = f"dags/ml_pipeline/dagRuns/{run_id}/taskInstances/{APPROVAL}/-1/hitlDetails"

    def ended() -> str | None:
        if open_request(airflow, run_id):
            time.sleep(3)
            airflow.ask("PATCH", path, json={"chosen_options": [choice]})
        state = airflow.runs(f"{run_id}$")[run_id]["state"]
        return state if state not in ("queued", "running") else None

    assert wait_for(ended, 300, lambda: airflow.detail(f"{run_id}$")) == "success"


@pytest.fixture(scope="module")
def approved(airflow: Served, backfilled: list[Any]) -> dict[str, Any]:
    """A run whose model, which the backfill trained, a person made champion: its version, and what she was asked."""
    airflow.trigger("approved", **{"data.source": "sklearn:iris"})
    asked = wait_for(lambda: open_request(airflow, "approved"), 300, lambda: airflow.detail("approved$"))
    before = airflow.aliases()
    answer(airflow, "approved", "Approve")
    version = airflow.returned("approved", "promote_model")["version"]
    return {"run_id": "approved", "version": version, "asked": asked, "before": before, "after": airflow.aliases()}


def test_a_person_is_asked_with_the_verdict_before_the_alias_moves(approved, airflow):
    assert "champion" not in approved["before"]
    assert approved["asked"]["subject"] == f"Make version {approved['version']} of {airflow.deployment.model} champion?"
    assert re.search(r"test_accuracy  -  +0\.9333", approved["asked"]["body"])


def test_a_model_that_a_person_approves_becomes_champion(approved, airflow):
    assert approved["after"]["champion"] == approved["version"]
    assert {task["state"] for task in airflow.tasks("approved").values()} <= {"success", "skipped"}


def test_the_verdict_is_a_note_on_the_task_and_on_the_run(airflow, approved):
    verdict = airflow.returned("approved", "promote_model")

    lines = verdict["table"].splitlines()
    for note in (airflow.tasks("approved")["promote_model"]["note"], airflow.runs("approved$")["approved"]["note"]):
        assert lines[0] in note
        assert all(line in note for line in lines) or note.endswith(MORE)


def test_raw_data_model_and_champion_are_events_of_their_assets(airflow, approved):
    champion = next(event for event in reversed(airflow.events("champion")) if event["run_id"] == "approved")
    model = next(event for event in airflow.events("model") if event["version"] == approved["version"])
    tags = airflow.deployment.mlflow.get_model_version(airflow.deployment.model, approved["version"]).tags

    assert (champion["version"], champion["dag_id"]) == (approved["version"], "ml_pipeline")
    assert champion["metrics"]["test_accuracy"] >= 0.9
    assert (champion["md5"], model["md5"]) == (tags["md5.model"], tags["md5.model"])
    assert tags["md5.raw_data"] in {event["md5"] for event in airflow.events("raw_data")}


def test_each_alias_leads_to_its_asset_before_there_is_an_event(backfilled, airflow):
    """Else two first events at the same time would fail one of their tasks."""
    found = airflow.ask("GET", f"assets?name_pattern={airflow.deployment.model}:")["assets"]

    aliases = {asset["name"].rpartition(":")[2]: [alias["name"] for alias in asset["aliases"]] for asset in found}
    name = airflow.deployment.model
    assert aliases == {kind: [f"{name}:{kind}:new"] for kind in ("raw_data", "model", "champion")}


def test_a_new_champion_has_the_batch_scored_with_it(airflow, approved):
    def scored() -> list[dict[str, Any]]:
        runs = airflow.runs("asset_triggered__", "score_batch").values()
        return [run for run in runs if run["state"] in ("success", "failed")]

    runs = wait_for(scored, 300, lambda: airflow.detail("", "score_batch"))
    assert {run["state"] for run in runs} == {"success"}
    assert "deprecated" not in airflow.log(runs[0]["dag_run_id"], "score", 1, "score_batch")
    keys = [key for key in airflow.deployment.objects() if key.startswith("predictions/")]
    text = airflow.deployment.s3.get_object(Bucket=airflow.deployment.bucket, Key=keys[0])["Body"].read().decode()
    assert len(text.splitlines()) == 151


@pytest.fixture(scope="module")
def rejected(airflow: Served, approved: dict[str, Any], backfilled: list[Any]) -> dict[str, Any]:
    """A run whose model a person did not want as champion: its version, and the aliases before and after."""
    before = airflow.aliases()
    # A model that no earlier run has: that of `beside` may be older than the champion, by which of them was faster.
    airflow.trigger("rejected", **{"data.source": "sklearn:iris", "model.C": 4.0})
    wait_for(lambda: open_request(airflow, "rejected"), 300, lambda: airflow.detail("rejected$"))
    answer(airflow, "rejected", "Reject")
    version = airflow.returned("rejected", "register_model")["version"]
    return {"version": version, "before": before, "after": airflow.aliases()}


def test_a_model_that_a_person_rejects_stays_challenger(airflow, rejected):
    assert airflow.tasks("rejected")["promote_model"]["state"] == "skipped"
    assert rejected["after"] == {"champion": rejected["before"]["champion"], "challenger": rejected["version"]}
    promoted = {event["version"] for event in airflow.events("champion") if event["dag_id"] == "ml_pipeline"}
    assert rejected["version"] not in promoted


def test_a_roll_back_moves_the_alias_tells_why_and_can_be_undone(airflow, rejected):
    champion, other = airflow.aliases()["champion"], rejected["version"]

    assert airflow.roll_back("there", version=other, reason="to see") == "success"
    assert airflow.aliases()["champion"] == other
    event = airflow.events("champion")[0]
    assert (event["version"], event["rolled_back_from"], event["dag_id"]) == (other, champion, "ml_rollback")

    assert airflow.roll_back("back", version="previous", reason="seen") == "success"

    assert airflow.aliases()["champion"] == champion
    tags = airflow.deployment.mlflow.get_registered_model(airflow.deployment.model).tags
    last = tags[max(name for name in tags if name.startswith("champion."))]
    assert '"reason": "seen"' in last
    assert '"by": "admin"' in last


def test_a_roll_back_to_a_version_that_is_not_there_fails_at_once_and_changes_nothing(airflow, approved):
    before = airflow.aliases()

    assert airflow.roll_back("nowhere", version="99", reason="x") == "failed"

    (task,) = airflow.tasks("nowhere", "ml_rollback").values()
    assert task["try_number"] == 1
    assert airflow.aliases() == before


def test_the_form_refuses_what_is_no_version(airflow):
    body = {"dag_run_id": "bad", "logical_date": None, "conf": {"version": "the last one", "reason": "x"}}

    said = airflow.request("POST", "dags/ml_rollback/dagRuns", json=body)

    assert said.status_code == 400
    assert "the last one" in said.text
