"""``meta.airflow`` of a stage: its settings, and what is wrong with them."""

from datetime import timedelta

import pytest

from dvc_airflow.project import DvcProjectError, StageSpec
from dvc_airflow.stage_meta import meta_arguments

LINES = {"": 7, "pool": 8, "pol": 9, "retries": 10}


def arguments(airflow, name="train"):
    return meta_arguments(StageSpec(name, name, "true", None, (), frozen=False, airflow=airflow, lines=LINES))


def test_settings_are_arguments_of_the_operator():
    airflow = {
        "pool": "gpu", "pool_slots": 2, "queue": "big", "priority_weight": 5, "retries": 0,
        "executor": "CeleryExecutor", "env": ["REGION"], "warm": ["pandas"],
    }  # fmt: skip

    assert arguments(airflow) == airflow
    assert arguments(None) == {}


@pytest.mark.parametrize(
    ("given", "seconds"), [(90, 90), (1.5, 1.5), ("90s", 90), ("5m", 300), ("1.5h", 5400), ("2 d", 172800), (0, 0)]
)
def test_a_duration_is_seconds_or_says_its_unit(given, seconds):
    assert arguments({"retry_delay": given, "execution_timeout": given}) == {
        "retry_delay": timedelta(seconds=seconds),
        "execution_timeout": timedelta(seconds=seconds),
    }


@pytest.mark.parametrize(
    ("airflow", "message"),
    [
        ({"pol": "x"}, r"^dvc\.yaml:9: stage train: meta\.airflow has no key pol; did you mean pool\?$"),
        ({"colour": "x"}, r"^dvc\.yaml:7: stage train: meta\.airflow has no key colour \(pool, pool_slots"),
        ({"pool": 3}, r"^dvc\.yaml:8: stage train: pool: Input should be a valid string, not 3$"),
        ({"retries": "3"}, r"^dvc\.yaml:10: .*retries: Input should be a valid integer, not \"3\""),
        ({"retries": -1}, r"retries: Input should be greater than or equal to 0, not -1"),
        ({"retries": True}, r"retries: Input should be a valid integer, not true$"),
        ({"pool_slots": 0}, r"pool_slots: .*greater than or equal to 1, not 0"),
        ({"retry_delay": "soon"}, r"retry_delay: give seconds as a number, or a text such as 90s.*, not \"soon\""),
        ({"execution_timeout": True}, "execution_timeout: give seconds"),
        ({"execution_timeout": -5}, "execution_timeout: give seconds"),
        ({"execution_timeout": "99999999999d"}, "execution_timeout: give seconds"),
        ({"execution_timeout": float("inf")}, "execution_timeout: give seconds"),
        ({"warm": "pandas"}, "warm"),
        ({"warm": ["a b"]}, "give the names of modules"),
        ({"env": {"TOKEN": "hunter2"}}, "Values do not belong in a DAG or in dvc.yaml"),
        ({"env": ["A=b"]}, "give names of variables"),
        ({"pod": []}, r"pod: Input should be a valid dictionary"),
        (["pool"], r"^dvc\.yaml:7: stage train: meta\.airflow holds settings by name, such as `pool: training`$"),
        ("pool", "holds settings by name"),
    ],
)
def test_what_is_wrong_is_named_with_the_file_and_the_line(airflow, message):
    with pytest.raises(DvcProjectError, match=message):
        arguments(airflow)


def test_a_value_that_is_a_secret_by_mistake_is_not_in_the_message():
    with pytest.raises(DvcProjectError) as caught:
        arguments({"env": {"TOKEN": "hunter2"}})

    assert "hunter2" not in str(caught.value)
    assert str(caught.value).startswith("dvc.yaml:7: stage train: env: give names of variables")


def test_the_file_is_that_of_the_stage():
    with pytest.raises(DvcProjectError, match=r"^sub/dvc\.yaml:9: stage sub/dvc\.yaml:train: "):
        arguments({"pol": 1}, "sub/dvc.yaml:train")
