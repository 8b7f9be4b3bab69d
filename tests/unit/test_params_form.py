"""A project's params as a trigger form, and the values of a run in its files."""

import json

import pytest
from airflow.sdk.exceptions import ParamValidationError

from dvc_airflow.dvc.values import replaced_values
from dvc_airflow.errors import TaskError
from dvc_airflow.params_form import FORCE, params_form
from dvc_airflow.project import ProjectParam
from dvc_airflow.run_values import is_forced, merged, values_of

PARAMS = (
    ProjectParam("params.yaml", ("lr",), 0.1),
    ProjectParam("params.yaml", ("train", "depth"), 3),
    ProjectParam("params.yaml", ("train", "name"), "a"),
    ProjectParam("params.yaml", ("train", "fast"), False),
    ProjectParam("params.yaml", ("sizes",), [1, 2]),
    ProjectParam("params.yaml", ("nothing",), None),
    ProjectParam("params.yaml", ("empty",), {}),
    ProjectParam("params.yaml", ("shell",), "ls", "the command of stage train interpolates it"),
    ProjectParam("conf/x.json", ("z",), True),
)
YAML = """\
# the rate
lr: 0.1  # of learning
train: {depth: 3, name: a, fast: false}
sizes: [1, 2]
nothing:
empty: {}
shell: ls
"""


@pytest.fixture
def project(tmp_path):
    (tmp_path / "conf").mkdir()
    (tmp_path / "params.yaml").write_text(YAML)
    (tmp_path / "conf" / "x.json").write_text('{"z": true}')
    (tmp_path / "p.toml").write_text("# t\n[a]\nb = 1.5\n")
    return tmp_path


def replaced(project, given, params=PARAMS):
    return replaced_values(project, values_of(given, params, "the run's conf"))


def test_the_form_has_each_value_with_its_type_in_the_section_where_it_stands():
    form = params_form(PARAMS)

    assert {name: param.schema["type"] for name, param in form.items() if name != "nothing"} == {
        "lr": "number", "train.depth": "integer", "train.name": "string", "train.fast": "boolean", "sizes": "array",
        "empty": "object", "shell": "string", "conf/x.json:z": "boolean", FORCE: "boolean",
    }  # fmt: skip
    assert "null" in form["nothing"].schema["type"]
    assert (form["train.depth"].schema["section"], form["train.depth"].schema["title"]) == ("train", "depth")
    assert form["lr"].schema["section"] == "params.yaml"
    assert form["conf/x.json:z"].schema["section"] == "conf/x.json"
    assert form["sizes"].schema["items"] == {"type": "integer"}
    assert form["train.depth"].resolve() == 3


def test_what_a_command_interpolates_is_shown_with_the_reason_and_accepts_no_other_value():
    shell = params_form(PARAMS)["shell"]

    assert shell.description == ("Fixed: the command of stage train interpolates it. Change it in params.yaml.")
    assert shell.resolve("ls") == "ls"
    with pytest.raises(ParamValidationError, match="the command of stage train interpolates it"):
        shell.resolve("rm -r /")


@pytest.mark.parametrize(("name", "value"), [("train.depth", "x"), ("train.fast", "no"), ("sizes", ["a"]), ("lr", "a")])
def test_the_form_refuses_another_type(name, value):
    with pytest.raises(ParamValidationError):
        params_form(PARAMS)[name].resolve(value)


def test_a_value_takes_its_place_in_the_file_and_all_else_stays(project):
    texts = replaced(project, {"lr": 0.5, "train.depth": 4})

    assert texts == {"params.yaml": YAML.replace("lr: 0.1", "lr: 0.5").replace("depth: 3", "depth: 4")}
    assert (project / "params.yaml").read_text() == YAML


def test_values_may_be_nested_as_in_the_file(project):
    nested = replaced(project, {"train": {"depth": 4}, "conf/x.json": {"z": False}})

    assert nested == replaced(project, {"train.depth": 4, "conf/x.json:z": False})
    assert json.loads(nested["conf/x.json"]) == {"z": False}


def test_a_form_sent_as_it_is_changes_nothing(project):
    assert replaced(project, {param.name: param.value for param in PARAMS}) == {}


@pytest.mark.parametrize(("name", "given", "text"), [("lr", 1, "lr: 1.0"), ("train.depth", 4.0, "depth: 4,")])
def test_a_whole_number_is_written_as_the_file_has_numbers(project, name, given, text):
    assert text in replaced(project, {name: given})["params.yaml"]


def test_a_toml_file_keeps_its_comments(project):
    params = (ProjectParam("p.toml", ("a", "b"), 1.5),)

    assert replaced(project, {"p.toml:a.b": 2.5}, params) == {"p.toml": "# t\n[a]\nb = 2.5\n"}


@pytest.mark.parametrize("value", ["x: 1\n- y", "${HOME}", "'; rm -r /", "日本", "null", "1", "# no comment"])
def test_a_text_stays_a_text_whatever_it_holds(project, value):
    import ruamel.yaml

    text = replaced(project, {"train.name": value})["params.yaml"]

    assert ruamel.yaml.YAML(typ="safe").load(text)["train"]["name"] == value


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"lrr": 1}, r"the run's conf: the project's params and variable files have no value lrr\. Did you mean lr\?"),
        ({"train": {"dept": 1}}, r"no value train\.dept\. Did you mean train\.depth\?"),
        ({"force": True}, r"no value force\. Did you mean run_every_stage\?"),
        ({"Forced": True}, r"no value Forced\. Did you mean run_every_stage\?"),
        ({"Run every stage": True}, r"no value Run every stage\. Did you mean run_every_stage\?"),
        ({"run_every_stages": True}, r"Did you mean run_every_stage\?"),
        ({"train.depth": "4"}, r"train\.depth must be of the type .*params\.yaml \(integer, now 3\), not \"4\""),
        ({"train.depth": 4, "train": {"depth": 5}}, r"train\.depth has two values, 4 and 5\. Give it once\."),
        ({"train.depth": 4.5}, "must be of the type"),
        ({"train.depth": True}, "must be of the type"),
        ({"train.fast": 1}, "must be of the type"),
        ({"lr": None}, "must be of the type"),
        ({"lr": True}, "must be of the type"),
        ({"sizes": [1, "a"]}, "must be of the type"),
        ({"sizes": 1}, "must be of the type"),
        ({"train.name": 1}, "must be of the type"),
        ({"shell": "rm"}, r"shell is fixed for runs: the command of stage train interpolates it\. Change it in params"),
    ],
)
def test_an_unknown_name_a_fixed_value_and_another_type_are_refused_with_file_and_key(project, given, message):
    with pytest.raises(TaskError, match=message):
        replaced(project, given)


def test_a_file_that_is_gone_is_named(project):
    (project / "params.yaml").unlink()

    with pytest.raises(TaskError, match=r"params\.yaml is gone, and this run gives a value for it"):
        replaced(project, {"lr": 1.0})


def test_of_several_sources_the_later_one_wins_value_by_value(project):
    dag = values_of({"train": {"depth": 4, "name": "b"}}, PARAMS, "values of the DAG")
    run = values_of({"train": {"depth": 5}}, PARAMS, "the run's conf")

    assert {param.name: value for param, value in merged(dag, run)} == {"train.depth": 5, "train.name": "b"}


def test_the_forms_defaults_may_be_others():
    assert params_form(PARAMS, {"lr": 0.7})["lr"].resolve() == 0.7


def test_every_stage_runs_only_if_the_run_says_so_clearly():
    assert (is_forced({}), is_forced({FORCE: True})) == (False, True)
    with pytest.raises(TaskError, match='must be true or false, not "yes"'):
        is_forced({FORCE: "yes"})
