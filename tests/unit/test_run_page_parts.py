"""The pages on runs of any DVC project in Airflow, and what the pages are made of."""

from dvc_airflow.run_page.changes import changes
from dvc_airflow.run_page.details import Described, Details, Link
from dvc_airflow.run_page.pages import dag_page, run_page
from dvc_airflow.run_page.plot import Value, plot
from tests.support.run_rows import Rows, row_of, stage, words


def listed(*rows: Rows) -> str:
    return dag_page("d", [one.run() for one in rows], Described([Details() for _ in rows]), 0, None)


def test_of_any_dvc_project_there_are_stages_and_what_changed_of_their_params_and_files():
    html = listed(Rows(2, [stage("load", c=2.0)], run_id="b"), Rows(1, [stage("load", c=1.0)], run_id="a"))

    assert "config/config.yaml: model.C: 1.0 → 2.0" in row_of(html, "b")
    assert "<svg" not in html
    assert "Model" not in words(html)


def test_many_stages_are_counted():
    rows = Rows(1, [stage(f"train@{number}", ("executed", "restored")[number % 2]) for number in range(12)])

    row = row_of(listed(rows), "run-1")

    assert "6 executed 6 restored" in row
    assert "train@11: restored" in row


def test_a_dag_without_stages_and_one_without_runs_have_a_sentence():
    assert "not stages of a DVC project" in words(listed(Rows(1)))
    assert "has not run yet" in words(listed())
    assert "not stages of a DVC project" in words(run_page("d", [Rows(1).run()], Described([Details()])))


def test_a_link_to_another_kind_of_address_is_no_link():
    said = Details(links=[Link("MLflow run", "javascript:alert(1)")])

    html = run_page("d", [Rows(1, [stage("load")]).run()], Described([said]))

    assert "javascript:" not in html
    assert "MLflow run" in html


def test_one_value_and_equal_values_have_a_place_in_the_plot():
    for values in ([Value("a", 0.0)], [Value("a", 1.0), Value("b", 1.0, marked=True)]):
        drawn = plot(values)
        assert drawn is not None
        assert len(drawn.ticks) == 1
        assert all(0 < point.y < 180 for series in drawn.series for point in series.points)
    assert plot([Value("a", None)]) is None


def test_a_value_that_is_a_list_is_shown_as_json():
    values = {"slices": [{"column": "target", "metric": None, "minimum": 0.5, "tolerance": 0.05}], "on": True}
    now = changes({"parameters": values}, {"parameters": {"on": False}})

    assert [(change.before, change.now) for change in now] == [
        ("-", '[{"column": "target", "metric": null, "minimum": 0.5, "tolerance": 0.05}]'),
        ("false", "true"),
    ]
