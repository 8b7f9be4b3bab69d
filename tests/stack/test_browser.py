"""A person at work: Airflow's and MLflow's pages in a browser. The pictures of the README are made here."""

import pytest

from tests.stack.conftest import picture
from tests.support.airflow_api import wait_for


@pytest.fixture
def page(stack, browser):
    """A browser window of somebody who has logged in to Airflow."""
    login = {"username": stack.values["MLFLOW_ADMIN_USER"], "password": stack.values["MLFLOW_ADMIN_PASSWORD"]}
    context = browser.new_context(
        viewport={"width": 1280, "height": 800}, http_credentials={**login, "origin": stack.tracking}
    )
    page = context.new_page()
    page.set_default_timeout(30_000)
    page.goto(f"{stack.airflow}/dags/ml_pipeline")
    page.fill("#username", stack.values["AIRFLOW_ADMIN_USER"])
    page.fill("#password", stack.values["AIRFLOW_ADMIN_PASSWORD"])
    page.click("[type=submit]")
    page.wait_for_url(f"{stack.airflow}/dags/ml_pipeline")
    yield page
    context.close()


def test_a_run_is_triggered_in_the_browser_with_a_value_of_the_form_and_ends_with_a_champion(stack, first_run, page):
    page.goto(f"{stack.airflow}/dags/ml_pipeline/runs")
    page.get_by_role("button", name="Trigger").first.click()
    page.get_by_role("button", name="Model: logistic_regression", exact=True).click()
    field = page.locator('[name="element_model.logistic_regression.C"]')
    field.wait_for()
    page.screenshot(path=picture("trigger_form"))
    field.fill("0.5")
    field.blur()
    before = set(stack.api.runs("manual"))
    page.get_by_role("button", name="Trigger").last.click()
    (run_id,) = wait_for(lambda: set(stack.api.runs("manual")) - before, 60)

    stack.api.finished(run_id)
    assert stack.api.returned(run_id, "resolve_config")["config"]["model"]["logistic_regression"]["C"] == 0.5
    assert stack.api.returned(run_id, "promote_model")["alias"] == "champion"
    page.goto(f"{stack.airflow}/dags/ml_pipeline/runs/{run_id}")
    page.get_by_text("Success").first.wait_for()


def test_a_run_of_known_inputs_skips_its_stages_which_is_seen_in_the_browser(stack, first_run, page):
    stack.api.trigger("again")
    tasks = stack.api.finished("again")

    stages = {name: task["state"] for name, task in tasks.items() if name.startswith("pipeline.")}
    assert len(stages) == 3
    assert set(stages.values()) == {"skipped"}
    page.goto(f"{stack.airflow}/dags/ml_pipeline/runs/again")
    page.get_by_role("link", name="pipeline.train_and_evaluate").wait_for()
    page.screenshot(path=picture("run_with_skipped_stages"))
    page.get_by_role("button", name="Show Graph").or_(page.get_by_label("Show Graph")).first.click()
    page.locator(".react-flow__node").nth(5).wait_for()
    page.wait_for_timeout(1500)  # the graph slides into its place
    page.screenshot(path=picture("graph"))


def test_the_link_of_the_training_leads_to_its_mlflow_run(stack, first_run, page):
    task = f"dags/ml_pipeline/dagRuns/{first_run}/taskInstances/pipeline.train_and_evaluate"
    links = stack.api.ask("GET", f"{task}/links")
    address = next(link for name, link in links["extra_links"].items() if "MLflow" in name)
    mlflow_run = stack.api.returned(first_run, "promote_model")["mlflow_run"]["run_id"]

    page.goto(address)
    page.get_by_text("test_accuracy").first.wait_for()
    assert mlflow_run in page.url
    page.get_by_text("Finished").first.wait_for()
    page.screenshot(path=picture("mlflow_run"))


def test_the_tab_dvc_shows_runs_and_a_run_behind_airflows_login(stack, first_run, page):
    page.goto(f"{stack.airflow}/dags/ml_pipeline")
    page.get_by_role("link", name="DVC", exact=True).click()
    frame = page.frame_locator("iframe[title=DVC]")
    frame.locator("tbody tr").first.wait_for()
    assert frame.locator("svg circle").count() >= 1
    page.screenshot(path=picture("dvc_tab_of_the_dag"))

    page.goto(f"{stack.airflow}/dags/ml_pipeline/runs/{first_run}")
    page.get_by_role("link", name="DVC", exact=True).click()
    frame.get_by_role("heading", name="The gate's verdict").wait_for()
    assert frame.get_by_text("Which version is champion now is not known").count() == 1  # it has no login to MLflow
    objects = frame.get_by_role("link", name="s3://ml-pipeline/").all()
    assert objects
    assert all(link.get_attribute("href").startswith("http://127.0.0.1:") for link in objects)
    page.screenshot(path=picture("dvc_tab_of_a_run"))
