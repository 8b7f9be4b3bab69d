"""What a run refuses, its plan refuses in the same words; and a plan refuses nothing else."""

import re
import sys

import pytest

from dvc_airflow import DvcDag
from dvc_airflow.errors import TaskError
from dvc_airflow.lockfile import lock_text
from dvc_airflow.project import DvcProjectError
from tests.support.planned_project import Place

USES = "stages:\n  first: {cmd: echo 1 > first, outs: [first]}\n  use: {cmd: echo 1 > out, %s}\n"
REFUSED = {
    "after another stage": (USES % "deps: [first, in.txt], outs: [out]", {}, "in.txt is a dep of stage use, but the"),
    "ignored by git": (
        USES % "deps: [in.txt], outs: [out]",
        {".gitignore": "in.txt"},
        "stage use: the project on this worker has no in.txt, for git ignores it (.gitignore:1): put it there.",
    ),
    "elsewhere": (USES % "deps: [/nowhere/in.txt], outs: [out]", {}, "/nowhere/in.txt is a dep of stage use, but this"),
    "a param that is not there": (
        USES % "deps: [first], params: [trian.rat], outs: [out]",
        {"params.yaml": "train: {rate: 1}\n"},
        "stage use: params.yaml has no trian.rat, which dvc.yaml lists in the stage's params. Did you mean train.rate?",
    ),
    "a params file that is not there": (
        USES % "params: [{other.yaml: [rate]}], outs: [out]",
        {},
        "stage use: other.yaml, whose params it reads, does not exist. Add it, or correct the stage's params in dvc.",
    ),
    "an output in git": (
        USES % "deps: [first], outs: [out], always_changed: true",
        {"out": "1"},
        "output 'out' is already tracked by SCM",
    ),
    "a file for a folder": (
        USES % "deps: [in.txt], outs: [x/out]",
        {"in.txt": "", "x": ""},
        "x/out is an output of stage use, but x",
    ),
}


# Data that nobody has pushed.
MD5 = "0123456789abcdef0123456789abcdef"
DATA = {"data.dvc": f"outs:\n- {{md5: {MD5}, size: 3, hash: md5, path: data}}\n"}
IN_FOLDER = {"d/data.dvc": DATA["data.dvc"]}
NOT_PUSHED = "data: missing from the cache and the store, or corrupted there. No stage produces it: run `dvc push`"
ALWAYS = "outs: [out], always_changed: true"


@pytest.mark.parametrize(
    ("reads", "files", "force"),
    [
        pytest.param("deps: [first, data], outs: [out]", DATA, True, id="forced"),
        pytest.param(f"deps: [first, data], {ALWAYS}", DATA, False, id="always changed"),
        pytest.param(f"deps: [first, d], {ALWAYS}", IN_FOLDER, False, id="in a folder"),
    ],
)
def test_data_that_nobody_pushed_are_refused_also_after_a_stage_whose_result_is_not_known(
    tmp_path, reads, files, force
):
    place = Place(tmp_path, {"dvc.yaml": USES % reads, **files})

    with pytest.raises(TaskError) as planned:
        place.plan(force=force)
    with pytest.raises(TaskError) as run:
        place.stranger.run(force=force)

    assert NOT_PUSHED in str(planned.value)
    assert (str(planned.value), planned.value.is_final) == (str(run.value), run.value.is_final)


@pytest.mark.parametrize(
    ("reads", "files"), [("deps: [first, data], outs: [out]", DATA), ("deps: [first, d], outs: [out]", IN_FOLDER)]
)
def test_data_that_nobody_pushed_are_named_where_it_depends_on_others_whether_they_are_needed(tmp_path, reads, files):
    place = Place(tmp_path, {"dvc.yaml": USES % reads, **files})

    first, use = place.plan().stages
    with pytest.raises(TaskError) as run:
        place.stranger.run()

    assert (first.refusal, use.outcome, use.refusal) == (None, None, str(run.value))
    assert NOT_PUSHED in str(run.value)


def test_an_output_in_git_is_named_where_it_depends_on_others_whether_the_stage_is_executed(tmp_path):
    count = "cmd: wc -l < seed > first, deps: [seed]"
    dvc_yaml = (USES % "deps: [first], outs: [out]").replace("cmd: echo 1 > first", count)
    place = Place(tmp_path, {"dvc.yaml": dvc_yaml, "seed": "a\n"})
    place.run()
    place.stranger.write({"out": "1\n", "seed": "b\n"})
    place.stranger.commit()

    use = place.plan().stages[1]
    assert (use.outcome, use.reason) == (None, "depends on what first makes")
    assert place.run() == {"first": "executed", "use": "depends"}
    assert place.results["use"].outcome == "unchanged"  # the same count: nothing is to be refused

    place.stranger.write({"seed": "a\nb\n"})
    with pytest.raises(TaskError) as run:
        place.run()
    assert use.refusal == str(run.value)
    assert "output 'out' is already tracked by SCM" in str(run.value)


def test_what_is_left_out_is_refused_also_after_a_stage_whose_result_is_not_known(tmp_path):
    other = "  other: {cmd: echo 1 > other, outs: [other]}\n"
    place = Place(tmp_path, {"dvc.yaml": USES % "deps: [first, other], outs: [out]" + other})
    select = ["first", "use"]

    with pytest.raises(TaskError, match=r"its result is the one in dvc\.lock, which has none"):
        place.plan(select=select)
    lock = lock_text({"other": {"cmd": "echo 1 > other", "outs": [{"path": "other", "hash": "md5", "md5": MD5}]}})
    place.stranger.write({"dvc.lock": lock})
    with pytest.raises(TaskError, match="stage use needs what stage other makes, which this DAG leaves out"):
        place.plan(select=select, force=True)
    assert [stage.outcome for stage in place.plan(select=select).stages] == ["executed", None]


def test_params_in_a_file_that_another_stage_makes_are_not_missed_before_it_ran(tmp_path):
    tuned = """
stages:
  tune: {cmd: cp seed.yaml tuned.yaml, deps: [seed.yaml], outs: [tuned.yaml]}
  use: {cmd: cp tuned.yaml out, params: [tuned.yaml: [rate]], outs: [out]}
"""
    place = Place(tmp_path, {"dvc.yaml": tuned, "seed.yaml": "rate: 1\n"})

    assert place.run() == {"tune": "executed", "use": "depends"}


@pytest.mark.parametrize("case", REFUSED)
def test_what_the_run_refuses_is_refused_by_the_plan_in_the_same_words(tmp_path, case):
    dvc_yaml, files, words = REFUSED[case]
    place = Place(tmp_path, {"dvc.yaml": dvc_yaml, **files})

    with pytest.raises(TaskError) as planned:
        place.plan()
    with pytest.raises(TaskError) as run:
        place.stranger.run()

    assert words in str(planned.value)
    assert (str(planned.value), planned.value.is_final) == (str(run.value), run.value.is_final)


def test_what_a_known_result_lacks_is_refused_with_the_stage_that_did_not_make_it(tmp_path):
    text = """
stages:
  one: {cmd: mkdir d && echo 1 > d/x, outs: [d]}
  other: {cmd: echo %s > other, outs: [other]}
  use: {cmd: echo 1 > out, deps: [d/%s, other], outs: [out]}
"""
    place = Place(tmp_path, {"dvc.yaml": text % ("1", "x")})
    place.run()

    for word in ("1", "2"):  # whether it is known what else it reads, or not yet
        place.stranger.write({"dvc.yaml": text % (word, "y")})
        for do in (place.plan, place.stranger.run):
            with pytest.raises(TaskError, match=r"^d/y is a dep of stage use, but stage one did not make it: "):
                do()


@pytest.mark.parametrize(
    ("airflow", "words"),
    [
        ("{retries: many}", 'dvc.yaml:3: stage use: retries: Input should be a valid integer, not "many"'),
        ("{pod: {sepc: {}}}", "dvc.yaml:3: stage use: pod: Kubernetes knows no field sepc of a pod"),
        ("train", "dvc.yaml:3: stage use: meta.airflow holds settings by name"),
    ],
)
def test_settings_that_no_dag_can_be_made_with_are_refused_in_the_words_of_its_import_error(tmp_path, airflow, words):
    place = Place(tmp_path, {"dvc.yaml": USES % f"outs: [out], meta: {{airflow: {airflow}}}"})

    with pytest.raises(DvcProjectError, match=f"^{re.escape(words)}") as imported:
        DvcDag("own", project_dir=place.stranger.path, push=False, graph_cache_dir=tmp_path / "graphs")
    with pytest.raises(TaskError) as planned:
        place.plan()
    assert str(planned.value) == str(imported.value)
    assert [stage.stage for stage in place.plan(exclude=["use"]).stages] == ["first"]  # as the DAG without it


def test_a_pod_is_left_to_the_dag_where_a_plan_is_made_without_kubernetes_client(tmp_path, monkeypatch):
    place = Place(tmp_path, {"dvc.yaml": USES % "outs: [out], meta: {airflow: {pod: {sepc: {}}}}"})
    monkeypatch.setitem(sys.modules, "kubernetes", None)

    assert [str(stage.outcome) for stage in place.plan().stages] == ["executed", "executed"]
