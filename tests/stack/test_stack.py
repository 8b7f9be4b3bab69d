"""The stack in containers, from outside: the browser, the APIs, the store, and what happens when parts of it go away.

The tests run in the order in which they stand, on one stack.
"""

import json
import re
import subprocess
import sys
import time
from datetime import date, timedelta

import botocore.auth
import pytest
import requests
from botocore.exceptions import ClientError
from sklearn.datasets import load_iris

from include.errors import AccessError
from include.settings import RuntimeSettings
from include.store import client, explained
from tests.conftest import clean_environment
from tests.stack.conftest import NAME, picture
from tests.stack.stack import wait

ONE_SHOT = {"airflow-init", "minio-init", "mlflow-init", "postgres-init"}


@pytest.fixture(scope="module")
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


def test_a_run_is_triggered_in_the_browser_and_ends_with_a_champion(stack, page):
    page.goto(f"{stack.airflow}/dags/ml_pipeline/runs")
    page.get_by_role("button", name="Trigger").first.click()
    page.get_by_role("button", name="Model", exact=True).click()
    field = page.locator('[name="element_model.C"]')
    field.wait_for()
    page.screenshot(path=picture("trigger_form"))
    field.fill("0.5")
    field.blur()
    before = set(stack.runs("manual"))
    page.get_by_role("button", name="Trigger").last.click()
    (run_id,) = wait(lambda: (set(stack.runs("manual")) - before) or None, 60)

    stack.finished(run_id)
    verdict = stack.returned(run_id, "promote_model")
    assert verdict["alias"] == "champion"
    assert stack.returned(run_id, "resolve_config")["config"]["model"]["C"] == 0.5
    page.goto(f"{stack.airflow}/dags/ml_pipeline/runs/{run_id}")
    page.get_by_text("Success").first.wait_for()


def test_a_second_run_skips_its_stages_which_is_seen_in_the_browser(stack, page):
    stack.trigger("again", model={"C": 0.5})
    tasks = stack.finished("again")

    assert {task["state"] for name, task in tasks.items() if name.startswith("pipeline.")} == {"skipped"}
    page.goto(f"{stack.airflow}/dags/ml_pipeline/runs/again")
    page.get_by_role("link", name="pipeline.train_and_evaluate").wait_for()
    page.screenshot(path=picture("run_with_skipped_stages"))
    page.get_by_role("button", name="Show Graph").or_(page.get_by_label("Show Graph")).first.click()
    page.locator(".react-flow__node").nth(5).wait_for()
    page.wait_for_timeout(1500)  # the graph slides into its place
    page.screenshot(path=picture("graph"))


def last_run(stack) -> str:
    return next(run for run, state in stack.runs("manual").items() if state == "success")


def test_the_link_of_the_training_leads_to_its_mlflow_run(stack, page):
    run_id = last_run(stack)
    links = stack.ask("GET", f"dags/ml_pipeline/dagRuns/{run_id}/taskInstances/pipeline.train_and_evaluate/links")
    address = next(link for name, link in links["extra_links"].items() if "MLflow" in name)
    mlflow_run = stack.returned(run_id, "promote_model")["mlflow_run"]["run_id"]

    page.goto(address)
    page.get_by_text("test_accuracy").first.wait_for()
    assert mlflow_run in page.url
    page.get_by_text("Finished").first.wait_for()
    page.screenshot(path=picture("mlflow_run"))


def test_the_model_is_registered_and_the_objects_are_in_the_store(stack):
    run_id = last_run(stack)
    version = stack.returned(run_id, "promote_model")["version"]
    alias = stack.mlflow(
        "registered-models/alias", stack.pipeline_login, name="iris-classifier", alias="champion"
    ).json()
    assert alias["model_version"]["version"] == version
    assert alias["model_version"]["tags"]

    keys = {item["Key"] for item in stack.s3().list_objects_v2(Bucket="ml-pipeline")["Contents"]}
    assert any(key.startswith("dvc/files/md5/") for key in keys)
    assert any(key.startswith("lineage/runs/ml_pipeline/") and key.endswith("/manifest.json") for key in keys)


def test_the_command_line_on_the_host_looks_at_the_stack(stack):
    def printed(*arguments: str) -> str:
        command = [sys.executable, "-m", "include", *arguments]
        done = subprocess.run(command, cwd=stack.project, env=clean_environment(), capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    assert last_run(stack) in printed("runs")
    assert "store" in printed("doctor")


def test_the_code_of_a_run_is_the_commit_that_the_image_was_built_from(stack):
    sha = subprocess.run(["git", "rev-parse", "HEAD"], cwd=stack.project, capture_output=True, text=True).stdout.strip()
    (image,) = json.loads(subprocess.run(["docker", "inspect", f"{NAME}:latest"], capture_output=True).stdout)
    label = image["Config"]["Labels"]["org.opencontainers.image.revision"]
    found = stack.s3().list_objects_v2(Bucket="ml-pipeline", Prefix="lineage/runs/")["Contents"]
    key = next(item["Key"] for item in found if item["Key"].endswith("manifest.json"))
    code = json.load(stack.s3().get_object(Bucket="ml-pipeline", Key=key)["Body"])["code"]

    assert label == sha
    assert code["git_sha"] == sha
    assert image["Config"]["User"] == "50000:0"
    assert image["Size"] < 1.6e9


def test_airflow_refuses_a_wrong_password_and_none(stack):
    wrong = {"username": stack.values["AIRFLOW_ADMIN_USER"], "password": "not the password"}
    assert requests.post(f"{stack.airflow}/auth/token", json=wrong, timeout=30).status_code == 401
    assert requests.get(f"{stack.airflow}/api/v2/dags", timeout=30).status_code == 401


def test_mlflow_refuses_a_wrong_password_and_none_and_the_pipeline_is_no_administrator(stack):
    user = stack.pipeline_login[0]
    assert stack.mlflow("experiments/search", None, max_results="1").status_code == 401
    assert stack.mlflow("experiments/search", (user, "not the password"), max_results="1").status_code == 401
    assert stack.mlflow("experiments/search", stack.pipeline_login, max_results="1").status_code == 200
    assert stack.mlflow("users/get", stack.pipeline_login, username="admin").status_code == 403


def test_the_store_refuses_a_wrong_password_none_and_the_bucket_of_another(stack):
    user = stack.values["AWS_ACCESS_KEY_ID"]
    assert requests.get(f"{stack.store}/ml-pipeline", timeout=30).status_code == 403
    with pytest.raises(ClientError, match="SignatureDoesNotMatch"):
        stack.s3(user, "not the password").list_objects_v2(Bucket="ml-pipeline")
    for ask in (
        lambda s3: s3.list_objects_v2(Bucket="mlflow"),
        lambda s3: s3.put_object(Bucket="mlflow", Key="x", Body=b""),
        lambda s3: s3.create_bucket(Bucket="another"),
        lambda s3: s3.delete_bucket(Bucket="ml-pipeline"),
    ):
        with pytest.raises(ClientError, match="AccessDenied"):
            ask(stack.s3())
    mlflow = stack.s3(stack.values["MLFLOW_STORE_ACCESS_KEY"], stack.values["MLFLOW_STORE_SECRET_KEY"])
    with pytest.raises(ClientError, match="AccessDenied"):
        mlflow.list_objects_v2(Bucket="ml-pipeline")


def test_a_clock_that_is_off_is_named(stack, monkeypatch):
    runtime = RuntimeSettings(
        aws_endpoint_url=stack.store,
        aws_access_key_id=stack.values["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=stack.values["AWS_SECRET_ACCESS_KEY"],
    )
    s3 = client(runtime)
    now = botocore.auth.get_current_datetime
    monkeypatch.setattr(botocore.auth, "get_current_datetime", lambda *a, **k: now(*a, **k) - timedelta(hours=1))
    with pytest.raises(AccessError, match=r"clocks .* differ .* NTP"), explained(runtime, "listing"):
        s3.list_objects_v2(Bucket="ml-pipeline")


def test_any_user_id_of_group_0_can_run_the_image_and_none_can_change_the_code(stack):
    script = "airflow version && touch $AIRFLOW_HOME/mine && ! touch /opt/project/dags/ml_pipeline.py 2>&1"
    options = ["--rm", "--no-deps", "-T", "--user", "12345:0"]
    said = stack.compose("run", *options, "airflow-dag-processor", "bash", "-c", script).stdout

    assert "3.3.2" in said
    assert "Permission denied" in said


def test_the_databases_are_separate(stack):
    def entered(user: str, database: str) -> bool:
        password = stack.values["AIRFLOW_DB_PASSWORD" if user == "airflow" else "MLFLOW_DB_PASSWORD"]
        command = ["exec", "-T", "-e", f"PGPASSWORD={password}", "postgres", "psql", "-h", "127.0.0.1", "-U", user]
        return stack.compose(*command, "-d", database, "-c", "SELECT 1", check=False).returncode == 0

    assert entered("airflow", "airflow")
    assert entered("mlflow", "mlflow")
    assert not entered("airflow", "mlflow")
    assert not entered("mlflow", "airflow")


def test_all_ports_are_on_loopback(stack):
    published = [
        binding["HostIp"]
        for container in stack.containers()
        for bindings in (container["NetworkSettings"]["Ports"] or {}).values()
        for binding in bindings or []
    ]
    assert len(published) >= 4
    assert set(published) == {"127.0.0.1"}


def test_secrets_are_where_they_are_needed_and_nowhere_else(stack):
    values = stack.values
    seen = {
        container["Config"]["Labels"]["com.docker.compose.service"]: json.dumps(container["Config"])
        for container in stack.containers()
    }

    def holders(name: str) -> set[str]:
        return {service for service, text in seen.items() if json.dumps(values[name])[1:-1] in text}

    database = {"airflow-api", "airflow-scheduler", "airflow-dag-processor", "airflow-triggerer"}
    assert holders("POSTGRES_PASSWORD") == {"postgres", "postgres-init"}
    assert holders("MINIO_ROOT_PASSWORD") == {"minio", "minio-init"}
    assert holders("MLFLOW_ADMIN_PASSWORD") == {"mlflow", "mlflow-init"}
    assert holders("AIRFLOW_ADMIN_PASSWORD") == {"airflow-init"}
    assert holders("AIRFLOW_DB_PASSWORD") - ONE_SHOT == database
    assert holders("AIRFLOW_FERNET_KEY") - ONE_SHOT == database
    assert holders("MLFLOW_DB_PASSWORD") - ONE_SHOT == {"mlflow"}
    assert holders("MLFLOW_TRACKING_PASSWORD") - ONE_SHOT == {"airflow-scheduler"}

    logs = stack.compose("logs", "--no-color")
    history = subprocess.run(["docker", "history", "--no-trunc", f"{NAME}:latest"], capture_output=True, text=True)
    (image,) = json.loads(subprocess.run(["docker", "inspect", f"{NAME}:latest"], capture_output=True).stdout)
    for name, value in values.items():
        if re.search("PASSWORD|SECRET|FERNET", name):
            assert value not in logs.stdout + logs.stderr, name
            assert value not in history.stdout + json.dumps(image), name
    files = ["run", "--rm", "--no-deps", "-T", "--entrypoint", "find", "airflow-dag-processor"]
    assert ".env" not in stack.compose(*files, "/opt/project", "-name", "*.env*").stdout.replace(".env.example", "")


def test_at_rest_the_stack_fits_into_3500_megabytes(stack):
    wait(lambda: True if not {"queued", "running"} & set(stack.runs("").values()) else None, 240)
    ids = stack.compose("ps", "--quiet").stdout.split()
    used = 0.0
    for line in subprocess.run(
        ["docker", "stats", "--no-stream", "--format", "{{.MemUsage}}", *ids], capture_output=True, text=True
    ).stdout.splitlines():
        number, unit = re.match(r"([\d.]+)(\w+)", line).groups()
        used += float(number) * {"MiB": 2**20, "GiB": 2**30, "KiB": 2**10}[unit]
    print(f"at rest: {used / 1e6:.0f} MB")
    assert used < 3.5e9


@pytest.fixture(scope="module")
def dated(stack):
    """A file of data for each of ten dates; those of every other date have the same rows."""
    iris = load_iris(as_frame=True)
    frame = iris.frame.assign(target=iris.target_names[iris.target])
    for number in range(10):
        text = frame.drop(index=range(number % 2)).to_csv(index=False)
        day = date(2026, 3, 1) + timedelta(days=number)
        stack.s3().put_object(Bucket="ml-pipeline", Key=f"landing/{day}.csv", Body=text.encode())
    return "s3://ml-pipeline/landing/{date:%Y-%m-%d}.csv"


def test_minio_away_for_20_seconds_while_the_results_are_pushed(stack):
    stack.trigger("store-away", model={"C": 0.11})
    stack.wait_for_task("store-away", "dvc_push")
    stack.compose("kill", "minio")
    time.sleep(20)
    stack.compose("start", "minio")

    tasks = stack.finished("store-away")
    print({name: task["try_number"] for name, task in tasks.items()})
    assert stack.returned("store-away", "dvc_push")["objects"] >= 9


def test_mlflow_away_during_the_training(stack):
    stack.trigger("mlflow-away", model={"C": 0.12})
    stack.wait_for_task("mlflow-away", "pipeline.train_and_evaluate")
    time.sleep(2)
    stack.compose("kill", "mlflow")
    time.sleep(15)
    stack.compose("start", "mlflow")

    tasks = stack.finished("mlflow-away")
    print({name: task["try_number"] for name, task in tasks.items()})
    run = stack.returned("mlflow-away", "promote_model")["mlflow_run"]["run_id"]
    assert stack.mlflow("runs/get", stack.pipeline_login, run_id=run).json()["run"]["info"]["status"] == "FINISHED"


def test_postgresql_restarted_in_the_middle(stack):
    stack.trigger("database-restarted", model={"C": 0.13})
    stack.wait_for_task("database-restarted", "pipeline.train_and_evaluate")
    stack.compose("restart", "postgres")

    def back() -> bool | None:
        try:
            return stack.runs("database-restarted")["database-restarted"] is not None
        except (AssertionError, requests.RequestException):
            return None

    wait(back, 90)
    stack.finished("database-restarted")


def test_down_and_up_again_loses_nothing(stack):
    def seen() -> tuple:
        runs = sorted(stack.runs("").items())
        versions = stack.mlflow("model-versions/search", stack.pipeline_login).json()["model_versions"]
        keys = sorted(item["Key"] for item in stack.s3().list_objects_v2(Bucket="ml-pipeline")["Contents"])
        return runs, sorted((version["version"], version["run_id"]) for version in versions), keys

    before, log = seen(), stack.log("store-away", "promote_model", 1)
    assert "alias" in log

    stack.make("down")
    assert stack.compose("ps", "--all", "--quiet").stdout == ""
    begun = time.monotonic()
    stack.make("up")
    seconds = time.monotonic() - begun
    print(f"up again after {seconds:.0f} s")

    assert seconds < 120
    assert seen() == before
    assert stack.log("store-away", "promote_model", 1) == log


def test_a_backfill_of_ten_dates_trains_once_for_each_data_set(stack, dated):
    config = stack.project / "config" / "config.yaml"
    config.write_text(config.read_text().replace("cron: null", 'cron: "0 0 * * *"'))  # a backfill needs a schedule
    stack.make("up")
    wait(lambda: stack.ask("GET", "dags/ml_pipeline")["timetable_summary"] or None, 120)
    body = {
        "dag_id": "ml_pipeline",
        "from_date": "2026-03-01T00:00:00Z",
        "to_date": "2026-03-10T00:00:00Z",
        "dag_run_conf": {"data": {"source": dated}},
        "max_active_runs": 3,
    }
    stack.ask("POST", "backfills", json=body)

    def ended() -> dict[str, str] | None:
        states = stack.runs("backfill")
        return states if len(states) == 10 and not {"queued", "running"} & set(states.values()) else None

    states = wait(ended, 600, lambda: str(stack.runs("backfill")))
    assert set(states.values()) == {"success"}
    models = {run_id: stack.returned(run_id, "register_model")["run_id"] for run_id in sorted(states)}
    assert len(set(models.values())) == 2  # what several runs need is made once
    assert list(models.values()) == [*list(models.values())[:2]] * 5


def test_several_workers_that_share_nothing_do_the_stages_of_one_run(stack):
    stack.make("up", CELERY="1")
    workers = stack.containers("airflow-worker")
    assert [container["Mounts"] for container in workers] == [[], []]
    for name in ("AIRFLOW_DB_PASSWORD", "AIRFLOW_FERNET_KEY", "AIRFLOW_JWT_SECRET", "POSTGRES_PASSWORD"):
        assert json.dumps(stack.values[name])[1:-1] not in json.dumps([worker["Config"] for worker in workers])

    runs = [f"on-workers-{number}" for number in range(2)]
    for number, run_id in enumerate(runs):
        stack.trigger(run_id, model={"C": 0.21 + number}, split={"test_size": 0.25})
    used = [{task["hostname"] for task in stack.finished(run_id, 300).values() if task["hostname"]} for run_id in runs]
    assert any(len(hosts) == 2 for hosts in used)
    assert set().union(*used) == {container["Config"]["Hostname"] for container in workers}


def test_a_worker_that_is_killed_in_a_stage_is_replaced(stack):
    stack.trigger("worker-killed", model={"C": 0.15})
    task = stack.wait_for_task("worker-killed", "pipeline.train_and_evaluate")
    (worker,) = [c for c in stack.containers("airflow-worker") if c["Config"]["Hostname"] == task["hostname"]]
    subprocess.run(["docker", "kill", worker["Id"]], capture_output=True, check=True)

    tasks = stack.finished("worker-killed", 420)
    print({name: (task["try_number"], task["hostname"]) for name, task in tasks.items()})
    again = tasks["pipeline.train_and_evaluate"]
    assert again["try_number"] > 1
    assert again["hostname"] != task["hostname"]
