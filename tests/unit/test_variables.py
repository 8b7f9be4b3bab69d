"""The variables of a stage's command: named in the DAG, read in the worker."""

import pytest

from dvc_airflow.errors import TaskError
from dvc_airflow.variable_values import variable_values
from dvc_airflow.variables import Variables


@pytest.fixture(autouse=True)
def airflow(monkeypatch):
    monkeypatch.setenv("AIRFLOW_CONN_MY_DB", "postgres://jo:hunter2@db.example:5432/app?sslmode=require")
    monkeypatch.setenv("AIRFLOW_VAR_MY_TOKEN", "t0ken")
    monkeypatch.setenv("REGION", "north")


def test_a_name_alone_is_the_workers_variable_and_none_where_the_worker_has_none():
    assert variable_values(Variables.of(["REGION", "NO_SUCH"]), {}) == {"REGION": "north"}


@pytest.mark.parametrize(
    ("source", "value"),
    [
        ("variable:my_token", "t0ken"),
        ("connection:my_db.password", "hunter2"),
        ("connection:my_db.login", "jo"),
        ("connection:my_db.host", "db.example"),
        ("connection:my_db.port", "5432"),
        ("connection:my_db.schema", "app"),
        ("connection:my_db.sslmode", "require"),
        (None, "north"),
    ],
)
def test_a_source_is_a_variable_of_airflow_or_a_field_of_a_connection(source, value):
    assert variable_values(Variables.of({"REGION": source}), {}) == {"REGION": value}


def test_a_connection_without_a_field_is_its_address():
    (address,) = variable_values(Variables.of({"DB": "connection:my_db"}), {}).values()

    assert address.startswith("postgres://jo:hunter2@db.example:5432/app")


def test_a_name_that_the_remotes_connection_has_is_of_that_connection_and_no_other_of_its_names_is_given():
    remote = {"REGION": "south", "AWS_SECRET_ACCESS_KEY": "s3cret"}

    assert variable_values(Variables.of(["REGION"]), remote) == {"REGION": "south"}


@pytest.mark.parametrize(
    "env", ["REGION", None, 3, [1], ["a b"], ["A=b"], ["REGION", 1], {"T": "hunter2"}, {"a b": None}, {"T": 3}]
)
def test_what_names_no_source_is_refused_without_a_value_in_the_message(env):
    with pytest.raises(ValueError, match="Values do not belong in a DAG") as caught:
        Variables.of(env)

    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (
            "variable:no_such",
            r"TOKEN comes from Airflow's Variable no_such, which does not exist.*variables set no_such",
        ),
        ("connection:no_such", r"env: TOKEN: Airflow has no Connection no_such .*AIRFLOW_CONN_NO_SUCH"),
        ("connection:my_db.colour", r"colour of Airflow's Connection my_db, which has none\. Its fields are host"),
    ],
)
def test_what_is_missing_is_named_with_the_way_to_add_it(source, message):
    with pytest.raises(TaskError, match=message):
        variable_values(Variables.of({"TOKEN": source}), {})
