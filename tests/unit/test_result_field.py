"""A field of a task's result as an argument of another task."""

from types import SimpleNamespace

import pytest
from airflow.sdk import DAG, BaseOperator

from dvc_airflow.result_field import ResultOf


class Reader(BaseOperator):
    template_fields = ("files", "force")

    def __init__(self, *, files, force, **kwargs):
        super().__init__(**kwargs)
        self.files, self.force = files, force


class Instance:
    """A task instance whose pulls are counted."""

    def __init__(self, number, returned):
        self.id, self.returned, self.pulls = number, returned, 0

    def xcom_pull(self, **_):
        self.pulls += 1
        return self.returned


@pytest.fixture
def reader():
    with DAG("d", schedule=None):
        value = ResultOf(BaseOperator(task_id="resolve").output)
        return Reader(task_id="reader", files=value["files"], force=value["force"])


def rendered(reader, instance):
    reader = reader.prepare_for_execution()
    reader.render_template_fields({"ti": instance, "dag": SimpleNamespace()})
    return reader.files, reader.force


def test_the_fields_are_pulled_by_one_request(reader):
    instance = Instance(1, {"files": {"a": "b"}, "force": True})

    assert rendered(reader, instance) == ({"a": "b"}, True)
    assert instance.pulls == 1


def test_another_try_pulls_again(reader):
    rendered(reader, Instance(1, {"files": {}, "force": True}))

    assert rendered(reader, Instance(2, {"files": {"c": "d"}, "force": False})) == ({"c": "d"}, False)


@pytest.mark.parametrize("returned", [None, "edited", {}])
def test_a_result_that_is_not_there_has_no_fields(reader, returned):
    assert rendered(reader, Instance(1, returned)) == (None, None)


def test_the_task_comes_after_the_one_that_returns_it(reader):
    assert reader.upstream_task_ids == {"resolve"}


def test_airflow_shows_which_field_it_is_and_the_same_for_each_parse(reader):
    assert str(reader.files) == "XComArg(<Task(BaseOperator): resolve>)['files']"
