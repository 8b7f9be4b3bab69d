"""The stages of a DVC project, as DVC itself reads them."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from dvc_airflow.project import Artifact, DvcProjectError, StageSpec, load_project


@pytest.fixture(scope="module", autouse=True)
def describing():
    """By the process that does it for users."""


@pytest.fixture
def dvc_project(tmp_path):
    def make(**files: str) -> Path:
        for name, text in files.items():
            path = tmp_path / "project" / name.replace("__", "/").replace("_dot_", ".")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return tmp_path / "project"

    return make


CHAIN = """
vars: [values.yaml]
stages:
  second: {cmd: "cat ${first} > b", deps: ["${first}"], outs: [b]}
  first: {cmd: "echo 1 > ${first}", desc: The first, outs: ["${first}"]}
"""


def test_the_stages_of_this_project_and_their_edges(project, tmp_path):
    stages = load_project(project, tmp_path).stages

    assert [(stage.name, stage.upstream) for stage in stages] == [
        ("get_data", ()),
        ("preprocess", ("get_data",)),
        ("train_and_evaluate", ("preprocess",)),
    ]


def test_variables_are_filled_in_and_the_order_is_one_in_which_stages_can_run(dvc_project, tmp_path, monkeypatch):
    folder = dvc_project(dvc_dot_yaml=CHAIN, values_dot_yaml="first: a\n")
    monkeypatch.setenv("DVC_SITE_CACHE_DIR", str(tmp_path / "site"))

    assert load_project(folder, tmp_path / "cache").stages == (
        StageSpec("first", "first", "echo 1 > a", "The first", (), frozen=False),
        StageSpec("second", "second", "cat a > b", None, ("first",), frozen=False),
    )
    assert not (tmp_path / "site").exists()  # DVC's databases go with the workspace that they are of


def test_foreach_and_nested_files_get_readable_task_ids(dvc_project, tmp_path):
    folder = dvc_project(
        dvc_dot_yaml="stages: {train: {foreach: [a, b], do: {cmd: 'echo ${item} > ${item}', outs: ['${item}']}}}",
        sub__dvc_dot_yaml="stages: {join: {cmd: cat ../a ../b > c, deps: [../a, ../b], outs: [c]}}",
    )

    stages = {stage.name: stage for stage in load_project(folder, tmp_path / "cache").stages}

    assert {name: stage.task_id for name, stage in stages.items()} == {
        "train@a": "train.a",
        "train@b": "train.b",
        "sub/dvc.yaml:join": "sub.join",
    }
    assert stages["sub/dvc.yaml:join"].upstream == ("train@a", "train@b")


def test_the_second_reading_starts_no_dvc(dvc_project, tmp_path, monkeypatch):
    folder = dvc_project(dvc_dot_yaml=CHAIN, values_dot_yaml="first: a\n")
    first = load_project(folder, tmp_path / "cache")
    monkeypatch.setattr(sys, "executable", "/bin/false")

    assert load_project(folder, tmp_path / "cache") == first


@pytest.mark.parametrize(
    ("file", "text"), [("dvc.yaml", CHAIN.replace("second", "third")), ("values.yaml", "first: z\n")]
)
def test_a_change_of_a_file_that_counts_is_seen(dvc_project, tmp_path, file, text):
    folder = dvc_project(dvc_dot_yaml=CHAIN, values_dot_yaml="first: a\n")
    load_project(folder, tmp_path / "cache")
    before = len(list((tmp_path / "cache").iterdir()))
    (folder / file).write_text(text)

    names = [stage.name for stage in load_project(folder, tmp_path / "cache").stages]

    assert names == ["first", "third" if file == "dvc.yaml" else "second"]
    assert before == 1


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("stages: [", "dvc.yaml"),
        ("stages: {a: {cmd: echo, outs: ['${none}']}}", "none"),
        (
            "stages: {a: {cmd: x, deps: [b], outs: [a]}, b: {cmd: x, deps: [a], outs: [b]}}",
            "^[^\n]*: the stages a, b need each other in a circle: .* Take one of these deps out of dvc.yaml",
        ),
        ("stages: {a: {cmd: x, deps: [a], outs: [a]}}", "stage a depends on its own output: take it out of the deps"),
        ("stages: {a: {cmd: x, outs: [o]}, b: {cmd: x, outs: [o]}}", "o"),
        ("stages: {a: {command: x}}", "command|a"),
        ("stages: {a: {cmd: x, outs: [/shared/o]}, b: {cmd: x, outs: [/shared/o]}}", "/shared/o"),
        ("stages: {a: {cmd: x, outs: [/shared]}, b: {cmd: x, outs: [/shared/o]}}", "overlap"),
        ("stages: {a: {cmd: x, outs: [../o]}}", r"stage a writes \.\./o, which is outside the project"),
        ("stages: {a: {cmd: x, deps: [../i], outs: [o]}}", r"stage a reads \.\./i, which is outside the project"),
    ],
)
def test_a_dvc_yaml_that_is_wrong_is_refused_in_dvcs_own_words(dvc_project, tmp_path, text, said):
    folder = dvc_project(dvc_dot_yaml=text)

    with pytest.raises(DvcProjectError, match=said) as caught:
        load_project(folder, tmp_path / "cache")

    assert "Traceback" not in str(caught.value)
    assert "dvc-task-" not in str(caught.value)


def test_one_stage_may_write_an_absolute_path(dvc_project, tmp_path):
    folder = dvc_project(dvc_dot_yaml=f"stages: {{a: {{cmd: x, outs: [{tmp_path}/o]}}}}")

    assert [stage.name for stage in load_project(folder, tmp_path / "cache").stages] == ["a"]


def test_a_project_may_have_nested_dvc_yaml_files_only(dvc_project, tmp_path):
    folder = dvc_project(sub__dvc_dot_yaml="stages: {a: {cmd: x, outs: [o]}}")

    assert [stage.name for stage in load_project(folder, tmp_path / "cache").stages] == ["sub/dvc.yaml:a"]


def test_variables_of_a_foreach_are_seen_to_change(dvc_project, tmp_path):
    text = "stages: {t: {foreach: [a], do: {vars: [deep.yaml], cmd: 'echo ${x}', outs: ['${item}']}}}"
    folder = dvc_project(dvc_dot_yaml=text, deep_dot_yaml="x: 1\n")
    before = load_project(folder, tmp_path / "cache")
    (folder / "deep.yaml").write_text("x: 2\n")

    assert [stage.command for stage in before.stages] == ["echo 1"]
    assert "deep.yaml" in before.definitions
    assert [stage.command for stage in load_project(folder, tmp_path / "cache").stages] == ["echo 2"]


def test_a_params_file_that_appears_later_is_seen(dvc_project, tmp_path):
    folder = dvc_project(dvc_dot_yaml="stages: {a: {cmd: x, outs: [o]}}")
    before = load_project(folder, tmp_path / "cache")
    (folder / "params.yaml").write_text("x: 2\n")
    (folder / "dvc.yaml").write_text("stages: {a: {cmd: 'echo ${x}', outs: [o]}}")

    assert "params.yaml" in before.definitions
    assert [stage.command for stage in load_project(folder, tmp_path / "cache").stages] == ["echo 2"]


def test_a_value_that_decides_what_a_stage_is_is_fixed_for_runs_with_the_reason(dvc_project, tmp_path):
    folder = dvc_project(
        dvc_dot_yaml="""
vars: [more.yaml]
stages:
  each:
    foreach: ${names}
    do: {cmd: "echo ${item} > ${item}", params: [seed], outs: ["${item}"]}
  grid:
    matrix: {size: "${sizes}"}
    cmd: echo 1 > grid-${item.size}
    outs: ["grid-${item.size}"]
  fit:
    cmd: python fit.py ${fit}
    wdir: ${where}
    deps: ["${source}"]
    params: [lr, weights, "../conf/model.json": [depth], "../settings.py": [SIZE]]
    outs: ["${target}"]
  kind: {cmd: echo 1 > k, params: ["${kind}.lr"], outs: [k]}
""",
        params_dot_yaml="seed: 1\nlr: 0.1\nunused: 3\nnested: {lr: 2}\n",
        more_dot_yaml="names: [p, q]\nsizes: [1, 2]\nfit: {lr: 1}\nwhere: sub\nsource: s\ntarget: t\nkind: nested\n",
        conf__model_dot_json='{"depth": 3, "other": 1}',
        settings_dot_py="SIZE = 3\n",
        sub__params_dot_yaml="lr: 0.5\nweights: {0: 1.5, limit: .inf}\n",
        sub__s="",
    )

    fixed = {param.name: param.fixed for param in load_project(folder, tmp_path / "cache").params}

    assert fixed == {
        "seed": None,
        "lr": "no stage depends on it",  # the stage has those of its own folder
        "unused": "no stage depends on it",
        "nested.lr": None,
        "more.yaml:names": "the stages each@... are made of it",
        "more.yaml:sizes": "the stages grid@... are made of it",
        "more.yaml:fit.lr": "the command of stage fit interpolates it",
        "more.yaml:where": "the working directory of stage fit depends on it",
        "more.yaml:source": "the dependencies of stage fit depend on it",
        "more.yaml:target": "the outputs of stage fit depend on it",
        "more.yaml:kind": None,
        "conf/model.json:depth": None,
        "conf/model.json:other": "no stage depends on it",
        "settings.py:SIZE": "a Python file is code",
        "sub/params.yaml:lr": None,
        "sub/params.yaml:weights.0": "JSON, and so a form, has nothing for it",
        "sub/params.yaml:weights.limit": "JSON, and so a form, has nothing for it",
    }


def test_a_stages_settings_have_their_lines_also_in_a_foreach_and_behind_an_alias(dvc_project, tmp_path):
    folder = dvc_project(
        dvc_dot_yaml="""
stages:
  one:
    cmd: echo 1 > a
    outs: [a]
    meta:
      airflow: &shared
        pool: ${pool}
        retries: 3
  each:
    foreach: [p]
    do:
      cmd: echo ${item} > ${item}
      outs: ["${item}"]
      meta: {tags: nightly, airflow: {queue: big}}
  merged:
    cmd: echo 1 > b
    outs: [b]
    meta: {airflow: {<<: *shared, queue: big}}
""",
        params_dot_yaml="pool: small\n",
    )

    stages = {stage.name: stage for stage in load_project(folder, tmp_path / "cache").stages}

    assert (stages["one"].airflow, stages["one"].lines) == (
        {"pool": "small", "retries": 3},
        {"": 7, "pool": 8, "retries": 9},
    )
    assert (stages["each@p"].airflow, stages["each@p"].lines) == ({"queue": "big"}, {"": 15, "queue": 15})
    assert stages["each@p"].tags == ("nightly",)
    assert stages["merged"].airflow == {"pool": "small", "retries": 3, "queue": "big"}
    assert (stages["one"].tags, stages["merged"].tags) == ((), ())


def test_the_version_changes_with_a_stage_and_with_nothing_else(dvc_project, tmp_path):
    def version(text: str) -> str:
        folder = dvc_project(dvc_dot_yaml=text, values_dot_yaml="first: a\n")
        return load_project(folder, tmp_path / "cache").version

    before = version(CHAIN)

    assert version(f"# a comment\n{CHAIN}") == before
    assert version(CHAIN.replace("echo 1", "echo 2")) != before
    assert version(CHAIN) == before


def test_parsing_the_dag_imports_neither_mlflow_nor_sklearn_nor_pandas_nor_dvc_nor_openlineage(project, tmp_path):
    """In a fresh process, with an empty cache of graphs: so DVC's part runs too, in a process of its own."""
    code = (
        "import sys, json; import ml_pipeline, ml_rollback, score_batch; "
        "heavy = ('mlflow', 'sklearn', 'pandas', 'dvc', 'boto3', 'openlineage', 'dvc_airflow.openlineage'); "
        "print(json.dumps([m for m in heavy if m in sys.modules]))"
    )
    environment = {
        "PATH": "/usr/bin:/bin",
        "HOME": str(tmp_path),
        "AIRFLOW_HOME": str(tmp_path / "airflow"),
        "PYTHONPATH": f"{project}:{project}/plugins:{project}/dags",
    }
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)

    heavy = json.loads(done.stdout.splitlines()[-1])
    assert heavy == []
    assert list((tmp_path / "airflow" / "dvc_airflow" / "graphs").iterdir())


def test_the_artifacts_are_the_pushed_outputs_by_their_paths(dvc_project, tmp_path):
    folder = dvc_project(
        dvc_dot_yaml="""
stages:
  a:
    wdir: sub
    cmd: "true"
    outs: [x, ../y: {persist: true}, z: {push: false}, /tmp/outside: {cache: false}]
    metrics: [m: {cache: false}]
"""
    )

    artifacts = load_project(folder, tmp_path / "cache").artifacts

    assert [(one.name, one.path, one.recorded, one.stage) for one in artifacts] == [
        ("sub/m", "sub/m", "m", "a"),
        ("sub/x", "sub/x", "x", "a"),
        ("y", "y", "../y", "a"),
    ]


def test_declared_artifacts_take_the_place_of_the_outputs_if_a_stage_makes_them(dvc_project, tmp_path):
    folder = dvc_project(
        dvc_dot_yaml="stages: {a: {cmd: 'true', outs: [x, y]}}\n"
        "vars: [name: y]\n"
        "artifacts: {best: {path: x/part, type: model, desc: The best}, other: {path: '${name}'}, code: {path: a.py}}\n"
    )

    assert load_project(folder, tmp_path / "cache").artifacts == (
        Artifact("best", "x/part", "a", "x", "model", "The best", is_declared=True),
        Artifact("other", "y", "a", "y", is_declared=True),
    )
