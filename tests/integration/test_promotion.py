"""Approval, roll-back and what follows from a new champion, in a running Airflow, asked by its REST API."""

import datetime as dt
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.lab import Site
from tests.scheduler import Airflow, running_airflow, wait_for

APPROVAL = "approve_promotion"


@pytest.fixture(scope="module")
def airflow(make_site: Callable[[str], Site]) -> Iterator[Airflow]:
    site = make_site("promotion")
    site.edit_config("approval: auto", "approval: manual")
    tomorrow = dt.datetime.now(dt.UTC).date() + dt.timedelta(days=1)  # only what a test triggers runs
    with running_airflow(site, source="sklearn:iris", start=tomorrow, max_active_runs=4, parallelism=4) as airflow:
        for dag_id in ("ml_rollback", "score_batch"):
            airflow.ask("PATCH", f"dags/{dag_id}", json={"is_paused": False})
        yield airflow


def open_request(airflow: Airflow, run_id: str) -> dict[str, Any] | None:
    """What a person is asked about the run now."""
    path = f"dags/ml_pipeline/dagRuns/{run_id}/hitlDetails?response_received=false"
    found = airflow.ask("GET", path)["hitl_details"]
    return found[0] if found else None


def request_of(airflow: Airflow, run_id: str) -> dict[str, Any]:
    """What a person is asked about the run, as soon as she is."""
    return wait_for(lambda: open_request(airflow, run_id), 300)


def answer(airflow: Airflow, run_id: str, choice: str) -> str:
    """Answer, and wait for the run's end.

    Airflow may ask again: an answer that comes before its scheduler has noticed that the task waits makes it try the
    task again. No person is that quick.

    :return: the state in which the run ended.
    """
    path = f"dags/ml_pipeline/dagRuns/{run_id}/taskInstances/{APPROVAL}/-1/hitlDetails"

    def ended() -> str | None:
        if open_request(airflow, run_id):
            time.sleep(3)
            airflow.ask("PATCH", path, json={"chosen_options": [choice]})
        state = airflow.runs(f"{run_id}$")[run_id]["state"]
        return state if state not in ("queued", "running") else None

    return wait_for(ended, 300)


def aliases(airflow: Airflow) -> dict[str, str]:
    return dict(airflow.site.mlflow.get_registered_model(airflow.site.model).aliases)


def events(airflow: Airflow, kind: str) -> list[dict[str, Any]]:
    """The events of an Asset, newest first."""
    found = airflow.ask("GET", f"assets?name_pattern={airflow.site.model}:{kind}")["assets"]
    if not found:
        return []
    return airflow.ask("GET", f"assets/events?asset_id={found[0]['id']}&order_by=-timestamp")["asset_events"]


def roll_back(airflow: Airflow, run_id: str, **params: str) -> str:
    """:return: the state in which the run ended."""
    body = {"dag_run_id": run_id, "logical_date": None, "conf": params}
    airflow.ask("POST", "dags/ml_rollback/dagRuns", json=body)

    def ended() -> str | None:
        state = airflow.ask("GET", f"dags/ml_rollback/dagRuns/{run_id}")["state"]
        return state if state not in ("queued", "running") else None

    return wait_for(ended, 300)


@pytest.fixture(scope="module")
def approved(airflow: Airflow) -> str:
    """A run whose model a person made champion, and what she was asked."""
    airflow.trigger("approved")
    asked = request_of(airflow, "approved")
    assert aliases(airflow) == {"challenger": "1"}
    assert asked["subject"] == f"Shall version 1 of {airflow.site.model} become champion?"
    assert "test_accuracy  -         0.9333" in asked["body"]
    assert answer(airflow, "approved", "Approve") == "success"
    return "approved"


def test_a_model_that_a_person_approves_becomes_champion(airflow, approved):
    assert aliases(airflow) == {"champion": "1"}
    assert {task["state"] for task in airflow.tasks(approved).values()} == {"success"}


def test_the_verdict_is_a_note_on_the_task_and_on_the_run(airflow, approved):
    verdict = airflow.returned(approved, "promote_model")

    assert verdict["table"] in airflow.tasks(approved)["promote_model"]["note"]
    assert verdict["table"] in airflow.runs("approved$")[approved]["note"]


def test_raw_data_model_and_champion_are_events_of_their_assets(airflow, approved):
    model, champion = (events(airflow, kind)[-1]["extra"] for kind in ("model", "champion"))
    (data,) = events(airflow, "raw_data")

    assert {**model, "metrics": None} == {**champion, "metrics": None}
    assert (champion["version"], champion["dag_id"], champion["run_id"]) == ("1", "ml_pipeline", approved)
    assert champion["metrics"]["test_accuracy"] >= 0.9
    tags = airflow.site.mlflow.get_model_version(airflow.site.model, "1").tags
    assert (champion["md5"], data["extra"]["md5"]) == (tags["md5.model"], tags["md5.raw_data"])


def test_a_new_champion_has_the_batch_scored_with_it(airflow, approved):
    begun = airflow.runs("approved$")[approved]["start_date"]

    def scored() -> dict[str, Any] | None:
        # Airflow's database is that of all tests of this worker: others' champions were scored before.
        runs = airflow.ask("GET", "dags/score_batch/dagRuns?limit=100")["dag_runs"]
        own = [run for run in runs if run["run_after"] > begun]
        return own[0] if own and own[0]["state"] not in ("queued", "running") else None

    run = wait_for(scored, 300)

    assert (run["state"], run["run_type"]) == ("success", "asset_triggered")
    (key,) = (key for key in airflow.site.objects() if key.startswith("predictions/"))
    text = airflow.site.s3.get_object(Bucket=airflow.site.bucket, Key=key)["Body"].read().decode()
    assert len(text.splitlines()) == 151


def test_a_model_that_a_person_rejects_stays_challenger(airflow, approved):
    airflow.trigger("rejected", **{"model.C": 1.5})
    request_of(airflow, "rejected")
    before = len(events(airflow, "champion"))

    assert answer(airflow, "rejected", "Reject") == "success"

    assert airflow.tasks("rejected")["promote_model"]["state"] == "skipped"
    assert aliases(airflow) == {"champion": "1", "challenger": "2"}
    assert len(events(airflow, "champion")) == before


def test_nobody_is_asked_about_a_model_that_the_gate_refuses(airflow, approved):
    airflow.trigger("refused", **{"registry.minimum": 1.0, "model.C": 2.0})

    assert airflow.wait("refused$", 1, 300) == {"refused": "success"}
    assert airflow.returned("refused", "promote_model")["passed"] is False
    assert aliases(airflow)["champion"] == "1"
    assert events(airflow, "champion")[0]["extra"]["version"] == "1"


def test_a_roll_back_moves_the_alias_and_tells_why(airflow, approved):
    assert roll_back(airflow, "to-2", version="2", reason="to see") == "success"
    assert aliases(airflow)["champion"] == "2"
    extra = events(airflow, "champion")[0]["extra"]
    assert (extra["version"], extra["rolled_back_from"], extra["dag_id"]) == ("2", "1", "ml_rollback")

    assert roll_back(airflow, "back", version="previous", reason="seen") == "success"

    assert aliases(airflow)["champion"] == "1"
    tags = airflow.site.mlflow.get_registered_model(airflow.site.model).tags
    last = tags[max(name for name in tags if name.startswith("champion."))]
    assert '"reason": "seen"' in last
    assert '"by": "admin"' in last


def test_a_roll_back_to_a_version_that_is_not_there_fails_at_once_and_changes_nothing(airflow, approved):
    before = aliases(airflow)

    assert roll_back(airflow, "nowhere", version="99", reason="x") == "failed"

    (task,) = airflow.ask("GET", "dags/ml_rollback/dagRuns/nowhere/taskInstances")["task_instances"]
    assert task["try_number"] == 1
    assert aliases(airflow) == before


def test_the_form_refuses_what_is_no_version(airflow):
    body = {"dag_run_id": "bad", "logical_date": None, "conf": {"version": "the last one", "reason": "x"}}

    said = airflow.session.post(f"{airflow.url}/api/v2/dags/ml_rollback/dagRuns", json=body, timeout=30)

    assert said.status_code == 400
    assert "the last one" in said.text
