"""The tab `DVC` in Airflow: who may see it, and what it costs, with Airflow's own API server and database."""

import base64
import json
import re
from hashlib import sha256
from urllib.parse import quote

import pytest

from tests.support import run_pages
from tests.support.run_pages import PREFIX
from tests.support.run_rows import Rows, Task, complete, stage

MANY = 200
ODD = "of/a+user:1"
DAG, RUN = f"{PREFIX}/many", f"{PREFIX}/ml_pipeline/runs/run-2"
REQUESTS = {
    "dag": {"path": f"{PREFIX}/ml_pipeline"},
    "run": {"path": RUN},
    "odd": {"path": f"{PREFIX}/ml_pipeline/runs/{quote(ODD)}"},
    "first page": {"path": DAG},
    "last page": {"path": f"{DAG}?page=9&metric=train_accuracy"},
    "no page": {"path": f"{DAG}?page=99"},
    "nobody": {"path": RUN, "login": False},
    "nobody on a DAG": {"path": DAG, "login": False},
    "nobody at the root": {"path": "dvc-runs/", "login": False},
    "forged": {"path": RUN, "token": "x.y.z"},
    "no role": {"path": RUN, "role": None},
    **{f"lacks {entity}": {"path": DAG, "lacks": entity} for entity in ("RUN", "TASK_INSTANCE", "XCOM")},
    "no DAG": {"path": f"{PREFIX}/nothing"},
    "no run": {"path": f"{PREFIX}/ml_pipeline/runs/nothing"},
    "bad page": {"path": f"{DAG}?page=-1"},
    "post": {"path": DAG, "method": "POST"},
    "plugins": {"path": "api/v2/plugins", "role": "ADMIN"},
}


@pytest.fixture(scope="module")
def answers(make_deployment):
    deployment = make_deployment("run-page")
    failed = Rows(3, [stage("get_data", run_id="run-3"), Task("dvc_push", "DvcPushOperator", None, "failed")], "failed")
    few = [complete(1), complete(2, "restored", c=0.5), failed, complete(4, run_id=ODD)]
    many = [complete(number, c=float(number % 3)) for number in range(MANY)]
    for rows in many:
        rows.tasks.append(Task("setup_bucket", "SetupBucketOperator", {"bucket": "b"}))
    deployment._in_airflow(run_pages.put, "ml_pipeline", few)
    deployment._in_airflow(run_pages.put, "many", many)
    found = deployment._in_airflow(run_pages.ask, list(REQUESTS.values()), MLFLOW_UI_URL="http://mlflow.test:5000")
    below = [{"path": f"pre/fix/{PREFIX}/ml_pipeline"}, {"path": f"pre/fix/{RUN}", "login": False}]
    found += deployment._in_airflow(run_pages.ask, below, AIRFLOW__API__BASE_URL="http://testserver/pre/fix/")
    return dict(zip([*REQUESTS, "below a path", "nobody below a path"], found, strict=True))


def test_runs_are_listed_the_newest_first_with_what_they_did(answers):
    text = answers["dag"]["text"]

    assert answers["dag"]["status"] == 200
    order = [text.index(f">{run_id}</a>") for run_id in (ODD, "run-3", "run-2", "run-1")]
    assert order == sorted(order)
    assert "model.logistic_regression.C: 1.0 → 0.5" in text
    assert "dvc_push failed" in text
    assert "<svg" in text


def test_a_run_has_its_page_whatever_its_id(answers):
    assert answers["run"]["status"] == 200
    assert "http://mlflow.test:5000/#/models/iris/versions/2" in answers["run"]["text"]
    assert answers["odd"]["status"] == 200
    assert f"<h1>{ODD}</h1>" in answers["odd"]["text"]
    assert '<a href="./../../../ml_pipeline">' in answers["odd"]["text"]


def test_it_works_below_a_path_of_the_server(answers):
    assert (answers["below a path"]["status"], answers["nobody below a path"]["status"]) == (200, 401)
    assert ">run-2</a>" in answers["below a path"]["text"]


def test_pages_hold_twenty_runs(answers):
    first, last, none = (answers[name]["text"] for name in ("first page", "last page", "no page"))

    assert [len(re.findall(r"<td><a ", text)) for text in (first, last, none)] == [20, 20, 0]
    assert ">run-199</a>" in first
    assert ">run-0</a>" in last
    assert ("older runs" in first, "newer runs" in first) == (True, False)
    assert ("older runs" in last, "newer runs" in last) == (False, True)
    assert "There are no older runs" in none


def test_the_number_of_queries_does_not_depend_on_the_number_of_runs(answers):
    """Of 200 runs with eight tasks each. Two are the page's, the others Airflow's own, for the rights of the user."""
    few, many = (answers[name] for name in ("dag", "first page"))
    assert len(few["statements"]) == len(many["statements"]) <= 6
    assert sum(" xcom" in text for text in many["statements"]) == 1


@pytest.mark.parametrize("who", ["nobody", "nobody on a DAG"])
def test_without_a_login_there_is_nothing_to_see(answers, who):
    assert answers[who]["status"] == 401
    assert "Log in to Airflow" in answers[who]["text"]
    assert "run-" not in answers[who]["text"]
    assert not answers[who]["statements"]


@pytest.mark.parametrize("who", ["forged", "no role", "lacks RUN", "lacks TASK_INSTANCE", "lacks XCOM"])
def test_without_the_right_to_read_runs_tasks_and_xcoms_of_the_dag_there_is_nothing_to_see(answers, who):
    assert answers[who]["status"] == 403
    assert "You may not see this page" in answers[who]["text"]
    assert "run-" not in answers[who]["text"]


def test_what_is_not_there_or_impossible_is_said(answers):
    said = {name: (answers[name]["status"], answers[name]["text"]) for name in ("no DAG", "no run", "bad page", "post")}

    assert said["no DAG"][0] == 404
    assert "There is no DAG nothing." in said["no DAG"][1]
    assert said["no run"][0] == 404
    assert "There is no run nothing of the DAG ml_pipeline." in said["no run"][1]
    assert said["bad page"][0] == 400
    assert "impossible value: page." in said["bad page"][1]
    assert said["post"][0] == 405
    assert answers["nobody at the root"]["status"] == 404


def test_only_airflows_own_pages_may_embed_it_and_it_takes_nothing_from_elsewhere(answers):
    for name in ("dag", "run", "nobody", "no run"):
        policy = answers[name]["headers"]["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'self'" in policy
        assert "unsafe" not in policy
        for kind in ("script", "style"):
            (own,) = re.findall(rf"<{kind}>(.*?)</{kind}>", answers[name]["text"], re.DOTALL)
            assert f"{kind}-src 'sha256-{base64.b64encode(sha256(own.encode()).digest()).decode()}'" in policy
        assert answers[name]["headers"]["x-content-type-options"] == "nosniff"
        assert answers[name]["headers"]["cache-control"] == "no-store"
        assert not re.findall(r"(?:src|@import|url\()\s*[=\"'(]", answers[name]["text"])


def test_the_tabs_are_on_dags_and_runs(answers):
    plugin = next(one for one in json.loads(answers["plugins"]["text"])["plugins"] if one["name"] == "ml_pipeline")
    tabs = {view["destination"]: view["href"] for view in plugin["external_views"] if view["name"] == "DVC"}

    assert tabs == {"dag": "dvc-runs/dags/{DAG_ID}", "dag_run": "dvc-runs/dags/{DAG_ID}/runs/{RUN_ID}"}
