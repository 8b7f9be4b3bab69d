"""The tab `DVC` in the web UI of `make serve`, in a browser: on the DAG and on a run. It makes pictures of both."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests

from tests.stack.images import KEPT
from tests.support.airflow_api import wait_for
from tests.support.browser import chromium
from tests.support.served import Served, served

MISSING = "s3://dated/iris/never.csv"
IRIS = {"data.source": "sklearn:iris"}


@pytest.fixture(scope="module")
def airflow(copy_project: Callable[[], Path]) -> Iterator[Served]:
    """With a champion, a model that the gate refuses, a run that failed, and one that restored all."""
    with served(copy_project(), first="2026-03-01", with_rows=(), approval="auto") as airflow:
        for run_id, conf in {
            "first": IRIS,
            "weaker": {**IRIS, "model.C": 0.001},
            "stronger": {**IRIS, "model.C": 3.0},
            "broken": {"data.source": MISSING},
            "restored": {**IRIS, "model.C": 0.001},
        }.items():
            airflow.trigger(run_id, **conf)
            airflow.ended(f"{run_id}$", 1, 300)
        yield airflow


@pytest.fixture(scope="module")
def page(airflow):
    """A browser window of somebody who has logged in."""
    KEPT.mkdir(parents=True, exist_ok=True)
    with chromium() as browser:
        page = browser.new_page(viewport={"width": 1200, "height": 1100})
        page.set_default_timeout(60_000)
        page.goto(f"{airflow.url}/dags/ml_pipeline")
        page.fill("[name=username]", "admin")
        page.fill("[name=password]", airflow.password)
        page.click("[type=submit]")
        page.wait_for_url(f"{airflow.url}/dags/ml_pipeline")
        yield page


def tab(page, url):
    """Open the tab as a person does; what is in its frame."""
    page.goto(url)
    page.get_by_role("link", name="DVC", exact=True).click()
    return page.frame_locator("iframe[title=DVC]")


def test_without_a_login_there_is_no_page(airflow):
    for path in ("ml_pipeline", "ml_pipeline/runs/first"):
        assert requests.get(f"{airflow.url}/dvc-runs/dags/{path}", timeout=30).status_code == 401


def test_the_tab_of_a_dag_shows_its_runs_and_their_metric_as_a_plot(airflow, page):
    frame = tab(page, f"{airflow.url}/dags/ml_pipeline")

    rows = frame.locator("tbody tr")
    rows.first.wait_for()
    texts = {text.split()[0]: " ".join(text.split()) for text in rows.all_inner_texts()}
    assert "train_and_evaluate executed" in texts["first"]
    assert "gate not passed" in texts["weaker"]
    assert "resolve_config failed" in texts["broken"]
    assert "train_and_evaluate restored" in texts["restored"]
    assert "model.logistic_regression.C: 1.0 → 0.001" in texts["weaker"]
    champion = airflow.aliases()["champion"]
    marked = {run_id for run_id, text in texts.items() if f"version {champion} champion" in text}
    assert marked & {"first", "stronger"}
    assert frame.locator("svg circle").count() >= 4
    assert frame.locator("svg circle.marked").count() == len(marked)
    page.screenshot(path=KEPT / "dvc_tab_of_the_dag.png")


def test_links_lead_on_within_the_tab(airflow, page):
    frame = tab(page, f"{airflow.url}/dags/ml_pipeline")

    frame.get_by_role("link", name="test_f1_macro").click()
    frame.get_by_role("heading", name="test_f1_macro").wait_for()
    frame.get_by_role("link", name="weaker").click()
    frame.get_by_role("heading", name="weaker").wait_for()
    frame.get_by_role("link", name="all runs of ml_pipeline").click()
    frame.get_by_role("heading", name="Runs of ml_pipeline").wait_for()


def test_the_tab_of_a_run_has_verdict_differences_and_a_way_to_mlflow(airflow, page):
    frame = tab(page, f"{airflow.url}/dags/ml_pipeline/runs/weaker")

    frame.get_by_role("heading", name="Stages").wait_for()
    text = frame.locator("body").inner_text()
    assert airflow.returned("weaker", "promote_model")["table"] in text
    assert "The run before is first." in text
    assert "s3://" in text
    page.screenshot(path=KEPT / "dvc_tab_of_a_run.png")
    with page.context.expect_page() as opened:  # Airflow's frame may not open a window by itself
        frame.get_by_role("link", name="MLflow run").click()
    mlflow_run = airflow.returned("weaker", "record_lineage")["mlflow_run"]["run_id"]
    assert mlflow_run in opened.value.url
    opened.value.get_by_text("test_accuracy").first.wait_for()
    opened.value.close()


def test_a_task_that_failed_is_one_click_away(airflow, page):
    frame = tab(page, f"{airflow.url}/dags/ml_pipeline/runs/broken")

    frame.get_by_role("link", name="resolve_config").click()

    page.wait_for_url(f"{airflow.url}/dags/ml_pipeline/runs/broken/tasks/resolve_config**")


def test_the_tab_is_dark_where_airflow_is(airflow, page):
    frame = tab(page, f"{airflow.url}/dags/ml_pipeline")
    frame.locator("svg").wait_for()
    scheme = "() => getComputedStyle(document.documentElement).colorScheme"
    inner = next(one for one in page.frames if "/dvc-runs/dags/" in one.url)

    for dark, expected in ((True, "dark"), (False, "light")):
        page.evaluate(f"() => document.documentElement.classList.toggle('dark', {str(dark).lower()})")
        # Asked from outside: the page's policy lets nobody evaluate a text within it.
        wait_for(lambda expected=expected: inner.evaluate(scheme) == expected, 20)
