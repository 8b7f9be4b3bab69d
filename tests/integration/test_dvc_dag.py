"""A DVC project as a DAG by three lines: its form, what is selected, mapped trials, and what is wrong with it."""

from pathlib import Path

import pytest

from tests.support.airflow_fork import AirflowCallError
from tests.support.strangers import Stranger, dvc

FILES = {
    ".gitignore": "*.txt\n!seed.txt\n",
    "seed.txt": "seed\n",
    "params.yaml": "# how to train\nrate: 0.5\ndepth: 3  # levels\nname: plain\nlist: [1, 2]\n",
    "extra.json": '{"shout": false}',
    "dvc.yaml": """
stages:
  load: {cmd: "cp seed.txt loaded.txt; echo load >> $RAN", deps: [seed.txt], outs: [loaded.txt]}
  train:
    cmd: "{ cat loaded.txt; grep rate params.yaml; } > model.txt; echo train >> $RAN"
    deps: [loaded.txt]
    params: [rate, depth]
    outs: [model.txt]
  report:
    cmd: "echo ${name} > report.txt; cat model.txt extra.json >> report.txt; echo report >> $RAN"
    deps: [model.txt]
    params: [extra.json: [shout]]
    outs: [report.txt]
    meta: {tags: [nightly], airflow: {retries: 0, execution_timeout: 5m, env: {TOKEN: "variable:token"}}}
""",
}


IMPORTS = """
from airflow.sdk import DAG, task, task_group

from dvc_airflow import DvcDag, DvcPushOperator, DvcTaskGroup
"""


class Place:
    """A folder of DAGs beside a stranger's project, run by a deployment."""

    def __init__(self, deployment, folder: Path) -> None:
        self.deployment, self.stranger = deployment, Stranger(folder, FILES)
        self.dags, self.ran = folder / "dags", folder / "ran"
        self.dags.mkdir()
        self.remote = folder / "remote"
        dvc(self.stranger.path, "remote", "add", "--default", "store", str(self.remote))
        self.stranger.commit()

    def write(self, body: str, name: str = "own") -> None:
        (self.dags / f"{name}.py").write_text(f"{IMPORTS}\n{body}\n")

    @property
    def env(self):
        return {"AIRFLOW__CORE__DAGS_FOLDER": str(self.dags), "RAN": str(self.ran), "AIRFLOW_VAR_TOKEN": "t0ken"}

    def run(self, *steps, dag_id="own"):
        self.ran.write_text("")
        return self.deployment.dag(*steps, dag_id=dag_id, **self.env)

    def executed(self) -> list[str]:
        return sorted(self.ran.read_text().split())


@pytest.fixture(scope="module")
def deployment(make_deployment):
    return make_deployment("dvc-dag")


@pytest.fixture
def place(deployment, tmp_path):
    return Place(deployment, tmp_path)


WHOLE = 'DvcDag("own", project_dir="../project", schedule=None, env=["RAN"])'


def outcomes(result):
    return {name: value["outcome"] for name, value in result["returned"].items() if "outcome" in value}


def content(result, place, path):
    """What the run made of an output, from the remote."""
    for value in result["returned"].values():
        for entry in value.get("lock", {}).get("dvc.lock", {}).values():
            for out in entry["outs"]:
                if out["path"] == path:
                    return (place.remote / "files" / "md5" / out["md5"][:2] / out["md5"][2:]).read_text()
    raise AssertionError(path)


def test_three_lines_are_a_dag_whose_runs_may_change_the_projects_params(place):
    place.write(WHOLE)

    first, again, other = place.run({}, {}, {"conf": {"rate": 1, "extra.json:shout": True}})

    assert [run["state"] for run in (first, again, other)] == ["success"] * 3
    assert set(first["tasks"]) == {"prepare_run", "load", "train", "report", "dvc_push"}
    assert outcomes(first) == dict.fromkeys(("load", "train", "report"), "executed")
    assert outcomes(again) == dict.fromkeys(("load", "train", "report"), "unchanged")
    assert outcomes(other) == {"load": "unchanged", "train": "executed", "report": "executed"}
    assert other["returned"]["train"]["reason"] == "rate 0.5 -> 1.0"
    assert content(other, place, "model.txt") == "seed\nrate: 1.0\n"
    assert content(other, place, "report.txt") == 'plain\nseed\nrate: 1.0\n{"shout": true}'
    assert (place.stranger.path / "params.yaml").read_text() == FILES["params.yaml"]
    assert place.executed() == ["load", "report", "report", "train", "train"]


def test_the_form_says_what_a_run_may_change_and_why_not_the_rest(place):
    place.write(WHOLE)

    described = place.deployment.described("own", **place.env)

    assert described["copied_params"] == {}
    form = described["params"]
    assert form["rate"]["value"] == 0.5
    assert {name: form[name]["schema"]["type"] for name in ("rate", "depth", "extra.json:shout")} == {
        "rate": "number",
        "depth": "integer",
        "extra.json:shout": "boolean",
    }
    assert form["name"]["schema"]["const"] == "plain"
    assert form["name"]["description"].startswith("Fixed: the command of stage report interpolates it.")
    assert form["list"]["description"].startswith("Fixed: no stage depends on it.")


def test_a_conf_with_an_unknown_name_ends_the_run_in_its_first_task(place):
    place.write(WHOLE)

    (run,) = place.run({"conf": {"rat": 1}})

    assert run["state"] == "failed"
    assert "have no value rat. Did you mean rate?" in run["failures"]["prepare_run"]
    assert run["tasks"]["load"] == "upstream_failed"
    assert place.executed() == []


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("depth", "deep", "is not of type 'integer'"),
        ("name", "x; rm -r /", "the command of stage report interpolates it"),
    ],
)
def test_another_type_and_a_value_that_a_command_interpolates_are_refused_when_the_run_is_triggered(
    place, name, value, said
):
    place.write(WHOLE)

    with pytest.raises(AirflowCallError, match=rf"(?s)Invalid input for param {name}.*{said}"):
        place.run({"conf": {name: value}})


def test_every_stage_runs_if_the_run_says_so(place):
    place.write(WHOLE)

    _, forced = place.run({}, {"conf": {"run_every_stage": True}})

    assert outcomes(forced) == dict.fromkeys(("load", "train", "report"), "executed")
    assert "reproduced: all outputs are the same" in forced["returned"]["train"]["reason"]


def test_a_dag_may_have_other_defaults_and_run_every_stage_each_time(place):
    place.write(WHOLE.replace("schedule", 'values={"rate": 2.5}, force=True, schedule'))
    assert place.deployment.described("own", **place.env)["params"]["rate"]["value"] == 2.5

    first, again, other = place.run({}, {}, {"conf": {"rate": 0.25}})

    assert content(first, place, "model.txt") == "seed\nrate: 2.5\n"
    assert outcomes(again) == dict.fromkeys(("load", "train", "report"), "executed")
    assert content(other, place, "model.txt") == "seed\nrate: 0.25\n"


def test_what_is_left_out_upstream_is_as_in_the_projects_lock(place):
    place.write(WHOLE.replace("schedule", 'select="train+", schedule'))

    (lacking,) = place.run({})
    assert lacking["state"] == "failed"
    assert "stage train needs what stage load makes, which this DAG leaves out" in lacking["failures"]["train"]
    assert "Run `dvc repro load` and `dvc push` in the project and commit dvc.lock" in lacking["failures"]["train"]

    dvc(place.stranger.path, "repro", "load", RAN="/dev/null")
    place.stranger.commit()
    (unpushed,) = place.run({})
    assert unpushed["state"] == "failed"
    assert "neither in the cache nor in the remote. Run `dvc push load`" in unpushed["failures"]["train"]

    dvc(place.stranger.path, "push")
    (good,) = place.run({})
    assert good["state"] == "success", good["failures"]
    assert set(good["tasks"]) == {"prepare_run", "train", "report", "dvc_push"}
    assert place.executed() == ["report", "train"]


def test_settings_in_dvc_yaml_reach_the_operator_and_those_in_python_win(place):
    place.write(
        WHOLE.replace("schedule", 'default_args={"retries": 4}, stage_options={"report": {"retries": 1}}, schedule')
    )

    settings = place.deployment.described("own", **place.env)["settings"]

    assert (settings["report"]["retries"], settings["train"]["retries"]) == (1, 4)
    assert (settings["report"]["timeout"], settings["train"]["timeout"]) == (300, None)


@pytest.mark.parametrize(
    ("change", "arguments", "message"),
    [
        (
            ("retries: 0", "retires: 0"),
            "",
            "dvc.yaml:14: stage report: meta.airflow has no key retires; did you mean retries?",
        ),
        (("retries: 0", "retries: few"), "", "dvc.yaml:14: stage report: retries: Input should be a valid integer"),
        (None, 'select="trian"', "select='trian' matches no stage. Did you mean train?"),
        (None, 'project_dir="nowhere"', "nowhere: no such folder"),
        (None, 'selec="train"', "selec"),
        (None, 'params={"rate": 1}', "params: the form of own has rate already, from the project. Rename yours"),
        (None, 'values={"rat": 1}', "values of the DvcDag: the project's params and variable files have no value rat."),
    ],
)
def test_what_is_wrong_with_the_project_or_the_arguments_is_an_error_of_the_dag(place, change, arguments, message):
    if change:
        text = FILES["dvc.yaml"].replace(*change)
        (place.stranger.path / "dvc.yaml").write_text(text)
    given = 'schedule=None, env=["RAN"]' + (f", {arguments}" if arguments else "")
    where = "" if "project_dir" in arguments else ' project_dir="../project",'
    place.write(f'DvcDag("own",{where} {given})')

    (error,) = place.deployment.import_errors(**place.env).values()

    assert message in error


MAPPED = """
with DAG("own", schedule=None):
    @task
    def rates():
        return [one / 4 for one in range(12)]

    @task_group
    def trial(rate):
        DvcTaskGroup("stages", project_dir="../project", push=True, env=["RAN"], values={"rate": rate}, select="+train")

    trial.expand(rate=rates())
"""


def test_twelve_mapped_trials_share_a_stage_and_train_twelve_times_and_a_repeat_trains_none(place):
    place.write(MAPPED.replace("env=", f'cache_dir="{place.stranger.cache}", env='))

    first, again = place.run({}, {})

    assert first["state"] == again["state"] == "success", first["failures"]
    assert place.executed() == ["load", *["train"] * 12]
    found = {
        content({"returned": {"x": first["returned"][f"trial.stages.train[{n}]"]}}, place, "model.txt")
        for n in range(12)
    }
    assert found == {f"seed\nrate: {n / 4}\n" for n in range(12)}
    assert {again["returned"][f"trial.stages.train[{n}]"]["outcome"] for n in range(12)} == {"unchanged"}


BRANCHED = """
with DAG("own", schedule=None):
    @task.branch
    def choose():
        return "other"

    @task
    def other():
        pass

    choose() >> [other(), DvcTaskGroup("stages", project_dir="../project", push=True, env=["RAN"])]
"""


def test_a_group_that_a_branch_leaves_out_is_skipped(place):
    place.write(BRANCHED)

    (run,) = place.run({})

    assert run["state"] == "success", run["failures"]
    assert {state for name, state in run["tasks"].items() if name.startswith("stages.")} == {"skipped"}
    assert place.executed() == []


TWO_GROUPS = """
with DAG("own", schedule=None):
    one = DvcTaskGroup("one", project_dir="../project", env=["RAN"], select="load")
    two = DvcTaskGroup(
        "two", project_dir="../project", push=True, env=["RAN"], select="+train", code=one.code, values={"rate": 0.75}
    )
    one >> two
"""


def test_two_groups_may_have_one_code_and_values_of_their_own(place):
    place.write(TWO_GROUPS)

    (run,) = place.run({})

    assert run["state"] == "success", run["failures"]
    assert content(run, place, "model.txt") == "seed\nrate: 0.75\n"
    assert run["returned"]["one.prepare_run"]["code"] == run["returned"]["two.prepare_run"]["code"]
    assert place.executed() == ["load", "train"]


def test_a_push_outside_of_a_mapped_group_is_refused_with_what_to_do(place):
    push = 'DvcPushOperator(task_id="push", project_dir="../project", upstream_stages=["trial.stages.train"])'
    place.write(
        MAPPED.replace("push=True, ", "").replace("trial.expand(rate=rates())", f"trial.expand(rate=[1.5]) >> {push}")
    )

    (run,) = place.run({})

    assert "trial.stages.train is in a mapped group, and this task is not in it" in run["failures"]["push"]
