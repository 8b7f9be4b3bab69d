"""The pages on runs in Airflow: what they show, of whatever the tasks left, and that all of it is text."""

import re
import threading
import time

import pytest

from dvc_airflow.result import CHECKSUM, _as_numbers, digest
from dvc_airflow.run_page.details import Details
from dvc_airflow.run_page.pages import dag_page, own_text, run_page
from dvc_airflow.run_page.runs import PAGE
from include.errors import ServiceError
from ml_operators import run_details
from tests.support.run_rows import MLFLOW_RUN, STAGES, Rows, Task, complete, row_of, stage, words

EVIL = "<script>alert(1)</script>"


@pytest.fixture(autouse=True)
def champion(monkeypatch):
    """MLflow's answers by model: the version that is champion now, the error, or an event that it waits for."""
    answers = {"iris": "2"}

    def answer(runtime, name):
        if isinstance(answers[name], Exception):
            raise answers[name]
        if isinstance(answers[name], threading.Event):
            answers[name].wait(60)
        return answers[name]

    monkeypatch.setattr(run_details, "champion_version", answer)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://mlflow:5000")
    monkeypatch.setenv("MLFLOW_UI_URL", "http://127.0.0.1:5050")
    monkeypatch.setenv("STORE_CONSOLE_URL", "http://127.0.0.1:9001")
    return answers


def listed(*rows: Rows, metric: str | None = None) -> str:
    runs = [one.run() for one in rows]
    return dag_page("ml_pipeline", runs, run_details.describe(runs, PAGE), 0, metric)


def shown(*rows: Rows) -> str:
    runs = [one.run() for one in rows]
    return run_page("ml_pipeline", runs, run_details.describe(runs, 1))


def with_fields(task: Task, **fields) -> None:
    """Give what the task returned these fields, and the checksum of what is there then."""
    values = {name: value for name, value in {**task.value, **fields}.items() if name != CHECKSUM}
    task.value = {**values, CHECKSUM: digest(_as_numbers(values))}


def renamed(rows: Rows, model: str) -> Rows:
    """The run, with a model of this name."""
    with_fields(next(task for task in rows.tasks if task.task_id == "register_model"), name=model)
    return rows


def test_a_run_is_listed_with_outcomes_reasons_metric_version_and_what_changed():
    row = row_of(listed(complete(2, c=0.5), complete(1)), "run-2")

    assert all(f"{name} executed" in row for name in STAGES)
    assert "get_data: executed: because of 0.5" in row
    assert "0.9020 version 2 champion gate passed" in row
    assert "model.logistic_regression.C: 1.0 → 0.5" in row


def test_a_run_that_differs_in_nothing_says_so_and_the_first_one_says_nothing():
    html = listed(complete(2, "unchanged"), complete(1))

    assert row_of(html, "run-2").endswith("nothing ")
    assert not row_of(html, "run-1").rstrip().endswith("nothing")


def test_the_mark_of_the_champion_is_where_mlflow_says_it_is_whatever_a_run_did(champion):
    champion["iris"] = "1"  # rolled back by the command line

    html = listed(complete(2), complete(1))

    assert "Champion of iris now: version 1." in words(html)
    assert "version 2 was made champion gate" in row_of(html, "run-2")
    assert "version 1 champion gate" in row_of(html, "run-1")
    assert html.count('class="marked"') == 1


def test_without_mlflow_no_run_is_called_champion_and_the_page_says_why(champion):
    champion["iris"] = ServiceError("MLflow at http://mlflow:5000 does not answer.")

    html = listed(complete(2), complete(1))

    assert "Which version of iris is champion now is not known: MLflow at http://mlflow:5000 does not" in words(html)
    assert row_of(html, "run-2").count("version 2 was made champion gate passed") == 1
    assert "Whether it still is one is not known." in html
    assert 'class="marked"' not in html


def test_of_models_that_are_shown_mlflow_has_three_seconds_in_all(champion, monkeypatch):
    monkeypatch.setattr(run_details, "SECONDS", 0.2)
    never = threading.Event()
    slow = {f"slow-{number}": never for number in range(12)}  # more than are asked at once
    champion.update(slow)
    rows = [renamed(complete(number), name) for number, name in enumerate(["iris", *slow])]
    older = [renamed(complete(20 + number), "unknown") for number in range(2)]  # a model that nobody may ask for
    runs = [one.run() for one in (*rows, *older)]

    try:
        begun = time.monotonic()
        described = run_details.describe(runs, len(rows))
        took = time.monotonic() - begun
    finally:
        never.set()

    assert took < 30  # each of them would have waited a minute
    assert described.notes[0] == "Champion of iris now: version 2."
    assert [note for note in described.notes if "slow-11 is champion now is not known: MLflow did not answer" in note]
    assert len(described.notes) == 13


def test_of_runs_without_a_model_mlflow_is_not_asked_and_nothing_is_said(monkeypatch):
    runs = [Rows(1, [stage("get_data")]).run()]
    assert run_details.describe(runs, 1).notes == []

    monkeypatch.setenv("MLFLOW_TRACKING_URI", "")  # as in the containers, where there is no login to MLflow
    assert run_details.describe(runs, 1).notes == []
    assert "Which version is champion now is not known: MLFLOW_TRACKING_URI of" in words(shown(complete(1)))


def test_a_setting_that_is_wrong_is_said_in_place_of_models_and_verdicts(monkeypatch):
    monkeypatch.setenv("STORE_READ_TIMEOUT", "soon")

    page = words(shown(complete(1)))

    assert "Of models and verdicts nothing is known: environment or config/.env: STORE_READ_TIMEOUT" in page
    assert "get_data executed" in page


def test_a_version_that_a_person_made_champion_needs_no_remedy(champion):
    refused = listed(complete(2, promoted=False))
    assert "version 2 champion gate not passed" in row_of(refused, "run-2")
    assert "why not champion" not in refused

    champion["iris"] = "1"
    assert "why not champion" in listed(complete(2, promoted=False))


def test_the_run_that_executed_a_result_is_a_link_only_where_that_is_certain():
    runs = [
        Rows(3, [stage("get_data", run_id="run-3"), stage("preprocess", "restored", run_id="run-1")]),
        Rows(1, [stage("preprocess", run_id="run-1")]),
    ]
    assert "get_data executed - 1.5 this run" in words(shown(*runs))
    assert '<a href="./run-1">run-1</a></td>' in shown(*runs)

    # Executed by the run of the same id of another DAG, with which it shares the cache.
    runs[0].tasks = [stage("get_data", "restored", run_id="run-3"), stage("preprocess", "restored", run_id="run-1")]
    runs[1].tasks = [stage("preprocess", "restored", run_id="run-1")]
    assert "get_data restored - 1.5 run-3 preprocess restored - 1.5 run-1" in words(shown(*runs))
    assert ">run-1</a></td>" not in shown(*runs)


def test_the_plot_is_of_the_gates_metric_or_of_the_one_that_is_asked_for():
    runs = [
        complete(3),
        Rows(2, [Task("pipeline.get_data", "DvcStageOperator", None, "failed")], "failed"),
        complete(1),
    ]

    html, other = listed(*runs), listed(*runs, metric="train_accuracy")

    assert len(re.findall(r"<circle", html)) == 2
    assert re.findall(r"<title>(run-\d): ([\d.]+)", html) == [("run-1", "0.901"), ("run-3", "0.903")]
    assert "?page=0&amp;metric=train_accuracy" in html
    assert re.findall(r"<title>(run-\d): ([\d.]+)", other) == [("run-1", "0.99"), ("run-3", "0.99")]
    assert "None of these runs has this metric" in listed(*runs, metric="test_nothing")


def test_of_several_models_each_has_its_name_a_line_and_a_champion(champion):
    """Versions are counted for each model, and a run that restores the champion is no other champion."""
    champion |= {"iris": "1", "bc": "2"}
    again = complete(3, "restored")
    again.tasks = [*again.tasks[:3], *complete(1).tasks[3:]]
    html = listed(complete(4), again, renamed(complete(2), "bc"), complete(1))

    for number, model in ((2, "bc"), (1, "iris")):
        assert f"{model} version {number} champion gate passed" in row_of(html, f"run-{number}")
    assert [line.count(",") for line in re.findall(r'<polyline class="line" points="([^"]*)"', html)] == [3, 1]
    marked = ["run-1: 0.901 of iris, champion", "run-2: 0.902 of bc, champion"]
    assert re.findall(r'class="marked"><title>([^<]*)', html) == marked
    assert "● iris · ● bc" in words(html)
    assert "●" not in listed(complete(2), complete(1))


def test_a_run_that_failed_shows_what_went_wrong_and_what_was_not_run():
    tasks = [
        stage("get_data"),
        Task("pipeline.preprocess", "DvcStageOperator", None, "failed"),
        Task("pipeline.train_and_evaluate", "DvcStageOperator", None, "upstream_failed"),
        Task("check", "PythonOperator", None, "failed"),
        Task("dvc_push", "DvcPushOperator", None, "upstream_failed"),
    ]
    rows = Rows(1, tasks, "failed")

    row, page = row_of(listed(rows, complete(0)), "run-1"), words(shown(rows, complete(0)))

    assert "check failed get_data executed preprocess failed train_and_evaluate not run why" in row
    assert "pipeline.preprocess : failed" in page
    assert "dvc_push : not run" in page
    assert 'href="./../../../../dags/ml_pipeline/runs/run-1/tasks/dvc_push" target="_top"' in shown(rows)
    assert "the log of the task says why" in page
    # Of the stages without a result it says nothing, though the run before has them.
    assert "data/preprocess.csv" not in page


def test_what_failed_comes_first_and_stages_that_did_not_run_for_it_are_no_failures():
    tasks = [Task(f"pipeline.{name}", "DvcStageOperator", None, "upstream_failed") for name in STAGES]
    tasks.append(Task("resolve_config", "ResolveConfigOperator", None, "failed"))
    html, page = listed(Rows(1, tasks, "failed")), shown(Rows(1, tasks, "failed"))

    assert "resolve_config failed get_data not run preprocess not run" in row_of(html, "run-1")
    assert "why" not in row_of(html, "run-1")  # nothing is to be said of them
    assert 'class="mark failed">resolve_config failed' in html
    assert "What went wrong resolve_config : failed pipeline.get_data : not run" in words(page)
    assert '<span class="quiet">not run</span>' in page
    (red,) = re.findall(r"([^}]*)\{ color: var\(--bad\)", own_text("page.css"))
    assert (".failed" in red, ".not-run" in red) == (True, False)


def test_a_run_that_is_going_on_shows_how_far_it_is():
    tasks = [stage("get_data"), Task("pipeline.preprocess", "DvcStageOperator", None, "running")]
    tasks.append(Task("pipeline.train_and_evaluate", "DvcStageOperator", None, None))

    row = row_of(listed(Rows(1, tasks, "running")), "run-1")

    assert "get_data executed preprocess running train_and_evaluate not started" in row


def test_a_result_that_was_changed_or_that_nobody_can_read_is_named_and_not_believed():
    changed, foreign, other = stage("get_data"), stage("preprocess"), stage("train_and_evaluate")
    changed.value = {**changed.value, "outcome": "unchanged"}
    foreign.value = Details().__dict__ | {"checksum": "x"}
    rows = complete(1)
    with_fields(other, lock={"dvc.lock": {"train_and_evaluate": {"outs": [{"md5": "0"}]}}})  # without a path
    rows.tasks = [changed, foreign, other, *rows.tasks[3:]]
    registered = next(task for task in rows.tasks if task.task_id == "register_model")
    registered.value = {**registered.value, "version": "99"}

    page = words(shown(rows))

    assert page.count("was truncated or changed") == 2
    assert page.count("that this one cannot read") == 1
    assert "version 99" not in page


def test_results_of_another_version_of_the_code_are_shown_as_far_as_they_are_known():
    rows = complete(1)
    for task in rows.tasks:
        task.value.pop("published", None)
        with_fields(task, new_field=[1])

    page = words(shown(rows))

    assert all(f"{name} executed because of 1.0" in page for name in STAGES)
    assert "test_accuracy - 0.9010" in page
    assert "version 1" in page


def test_a_run_has_its_verdict_links_objects_and_difference_on_a_page(champion):
    champion["iris"] = "1"
    html = shown(complete(2, c=0.5, promoted=False), complete(1))

    assert "test_accuracy  -         0.9020      -       at least 0.9  no" in html
    assert "required: at least 0.9" in html
    key = "dvc/files/md5/00/" + "5".rjust(30, "0")
    assert f'href="http://127.0.0.1:9001/browser/ml-pipeline/{key}"' in html
    assert f"s3://ml-pipeline/{key}" in html
    mlflow = f"http://127.0.0.1:5050/#/experiments/1/runs/{MLFLOW_RUN['run_id']}"
    assert f'href="{mlflow}"' in html
    assert f'href="{mlflow}/artifacts/runs/report.html"' in html
    assert 'href="http://127.0.0.1:5050/#/models/iris/versions/2"' in html
    text = words(html)
    assert "parameters model.logistic_regression.C 1.0 0.5" in text
    assert "metrics test_accuracy 0.901 0.902" in text
    assert "The run before is run-1 ." in text


def test_everything_that_comes_from_users_is_shown_as_text():
    rows = complete(2, run_id=f'quote"{EVIL}', c=0.5)
    rows.tasks = [stage("get_data", reason=EVIL), *rows.tasks[1:]]
    rows.tasks.append(Task(f"t{EVIL}", "X", None, "failed"))
    resolved = next(task for task in rows.tasks if task.task_id == "resolve_config")
    config = resolved.value["config"]
    with_fields(resolved, config={**config, "data": {**config["data"], "source": EVIL}})

    for html in (listed(rows, complete(1), metric=EVIL), shown(rows, complete(1))):
        assert "<script>alert" not in html
        assert "&lt;script&gt;alert(1)&lt;/script&gt;" in html
        assert html.count("<script>") == 1  # the page's own
        assert 'quote"' not in html
