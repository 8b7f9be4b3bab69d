"""A stage's life in a real DVC project with a folder as the remote, and what it relies on in DVC's internals."""

import copy
import shutil
from pathlib import Path

import pytest

from dvc_airflow.dvc.object import MissingObjectsError
from dvc_airflow.dvc.objects import Objects
from dvc_airflow.dvc.outputs import objects_of, outputs_to_push, push_outputs
from dvc_airflow.dvc.repo import DvcWorkspace
from dvc_airflow.dvc.resolve import ResolvedStage
from dvc_airflow.errors import TaskError
from dvc_airflow.lockfile import merge_locks
from tests.support.dvc_project import STAGES, DvcProject, dvc, out


@pytest.fixture
def dvc_project(tmp_path):
    return DvcProject(tmp_path)


@pytest.fixture(scope="module")
def ran_once(tmp_path_factory):
    """A project in which two stages ran, and their lock: it takes seconds, so tests get copies."""
    dvc_project = DvcProject(tmp_path_factory.mktemp("ran"))
    made = dvc_project.run("make").lock
    used = dvc_project.run("use", made).lock
    return dvc_project, merge_locks([made, used])


@pytest.fixture
def ran(dvc_project, ran_once):
    """The lock after two stages ran in the project."""
    template, lock = ran_once
    for name in ("path", "cache", "remote"):
        shutil.copytree(getattr(template, name), getattr(dvc_project, name), dirs_exist_ok=True)
    return copy.deepcopy(lock)


def test_a_stage_is_found_by_the_entries_before_it_without_any_data(dvc_project, ran):
    for stage, upstream in (("make", {}), ("use", ran)):
        result = dvc_project.run(stage, upstream)

        assert result.outcome == "restored"
        assert result.lock == {"dvc.lock": {stage: ran["dvc.lock"][stage]}}


@pytest.mark.parametrize(
    ("file", "text", "stage"),
    [("seed.txt", "other\n", "make"), ("values.yaml", "factor: 2\n", "use")],
)
def test_a_change_of_code_or_param_is_another_key(dvc_project, ran, file, text, stage):
    (dvc_project.path / file).write_text(text)

    assert dvc_project.run(stage, ran).outcome == "executed"


def test_another_result_upstream_is_another_key(dvc_project, ran):
    (dvc_project.path / "seed.txt").write_text("other\n")
    made = dvc_project.run("make").lock

    assert dvc_project.run("use", made).outcome == "executed"


@pytest.mark.parametrize("stage", ["one_file", "sub_folder", "uncached"])
def test_a_part_of_a_folder_and_an_uncached_metric_are_inputs_like_others(dvc_project, ran, stage):
    assert dvc_project.run(stage, ran).outcome == "executed"
    shutil.rmtree(dvc_project.path / "results")  # no business of theirs

    assert dvc_project.run(stage, ran).outcome == "restored"


def test_only_the_part_that_is_needed_is_fetched(dvc_project, ran):
    dvc_project.push(ran)
    shutil.rmtree(dvc_project.cache)

    assert dvc_project.run("one_file", ran).outcome == "executed"

    fetched = {file.read_text() for file in (dvc_project.cache / "files" / "md5").rglob("*") if file.is_file()}
    assert "1\n" in fetched
    assert {"2\n", "seed\n"} & fetched == set()


def test_a_folder_with_an_output_in_it_is_an_input_as_a_whole(dvc_project):
    made = dvc_project.run("into_results").lock

    result = dvc_project.run("all_around", made)

    assert result.outcome == "executed"
    listing = dvc_project.cache / "files" / "md5" / out(result.lock, "all_around", "list.txt")["md5"][:2]
    assert [file.read_text() for file in listing.iterdir()] == ["results/README\nresults/x\n"]
    assert dvc_project.run("all_around", made).outcome == "restored"
    (dvc_project.path / "results" / "README").write_text("changed\n")
    assert dvc_project.run("all_around", made).outcome == "executed"


def test_left_overs_in_the_project_are_not_taken_for_the_output_of_the_stage_before(dvc_project, ran):
    (dvc_project.path / "out").mkdir()
    (dvc_project.path / "out" / "one").write_text("stale\n")
    (dvc_project.path / "values.yaml").write_text("factor: 3\n")

    result = dvc_project.run("use", ran)

    assert result.outcome == "executed"
    assert result.entry["outs"] == ran["dvc.lock"]["use"]["outs"]


def test_a_result_whose_object_is_gone_is_not_restored(dvc_project, ran):
    dvc_project.object_with("1\n2\nseed\n").unlink()

    assert dvc_project.run("use", ran).outcome == "executed"


def test_a_result_whose_object_is_corrupted_is_not_restored_and_the_object_goes(dvc_project, ran):
    victim = dvc_project.object_with("1\n2\nseed\n")
    victim.write_text("1\n2\nSEED\n")
    victim.chmod(0o444)  # as DVC leaves them; it trusts what is read-only

    assert dvc_project.run("use", ran).outcome == "executed"
    assert victim.read_text() == "1\n2\nseed\n"


@pytest.mark.parametrize("damage", ["gone", "corrupted", "half"])
def test_a_damaged_input_is_found_before_it_is_read(dvc_project, ran, damage):
    victim = dvc_project.object_with("2\n")
    {
        "gone": victim.unlink,
        "corrupted": lambda: victim.write_text("3\n"),
        "half": lambda: victim.write_text(""),
    }[damage]()
    (dvc_project.path / "values.yaml").write_text("factor: 4\n")

    with pytest.raises(TaskError, match="Run stage make, which produces it, again"):
        dvc_project.run("use", ran)

    assert not victim.exists()


def test_a_damaged_input_comes_from_the_remote_if_that_has_it(dvc_project, ran):
    dvc_project.push(ran)
    dvc_project.object_with("2\n").write_text("3\n")
    (dvc_project.path / "values.yaml").write_text("factor: 4\n")

    result = dvc_project.run("use", ran)

    assert result.outcome == "executed"
    assert result.entry["outs"] == ran["dvc.lock"]["use"]["outs"]


def test_an_empty_cache_restores_from_the_remote_and_moves_no_data(dvc_project, ran):
    dvc_project.push(ran)
    shutil.rmtree(dvc_project.cache)

    assert dvc_project.run("use", ran).outcome == "restored"
    assert [file for file in (dvc_project.cache / "files").rglob("*") if file.is_file()] == []


def test_without_a_shared_cache_everything_goes_through_the_remote(dvc_project):
    shutil.rmtree(dvc_project.cache)
    made = dvc_project.run("make", cache=False).lock

    assert dvc_project.run("use", made, cache=False).outcome == "executed"
    assert dvc_project.run("uncached", made, cache=False).outcome == "executed"
    assert dvc_project.run("use", made, cache=False).outcome == "restored"
    assert not dvc_project.cache.exists()


@pytest.mark.parametrize("damage", [lambda text: text[: len(text) // 2], lambda text: text.replace("seed.txt", "x")])
def test_a_run_cache_entry_that_was_cut_short_or_changed_is_refused(dvc_project, ran, damage):
    dvc_project.push(ran)
    shutil.rmtree(dvc_project.cache)
    for file in (dvc_project.remote / "runs").rglob("*"):
        if file.is_file() and "seed.txt" in (text := file.read_text()):
            file.write_text(damage(text))

    assert dvc_project.run("make").outcome == "executed"


def test_a_file_of_a_folder_that_the_remote_lacks_is_found_and_healed(dvc_project, ran):
    with dvc_project.repo(ran) as repo:
        dvc(Path(repo.root_dir), "push")
        objects = Objects(repo)
        outs = outputs_to_push(repo, STAGES)
        assert [one.name for one in objects.remote.missing(objects_of(objects, outs))] == ["score.json"]
        dvc_project.object_with("2\n", dvc_project.remote).unlink()
        dvc_project.object_with("1\n", dvc_project.remote).write_text("longer\n")
        absent = objects.remote.missing(objects_of(objects, outs))
        assert {one.name for one in absent} == {"score.json", "out/one", "out/two"}

        sizes = push_outputs(objects, outs)

        assert objects.remote.missing(objects_of(objects, outs)) == []
        assert len(sizes) == 6  # the list of the folder, its three files, the sum, the metric
        assert dvc_project.object_with("2\n", dvc_project.remote).is_file()


def test_what_neither_has_is_named_with_the_stage_that_makes_it(dvc_project, ran):
    dvc_project.object_with("2\n").unlink()

    with dvc_project.repo(ran) as repo, pytest.raises(MissingObjectsError, match="out/two") as caught:
        push_outputs(Objects(repo), outputs_to_push(repo, STAGES))

    assert caught.value.producer == "make"


def test_a_params_file_has_the_values_of_this_run_also_where_dvc_tracks_it(dvc_project):
    lock = dvc_project.run("make").lock
    dvc(dvc_project.path, "init", "--no-scm", "--quiet")
    dvc(dvc_project.path, "add", "--quiet", "values.yaml")
    (dvc_project.path / "values.yaml").unlink()
    (dvc_project.path / "values.yaml").write_text("factor: 5\n")

    with dvc_project.repo(lock) as repo:
        stage = ResolvedStage(Objects(repo), "use")
        stage.fetch_inputs()

        assert stage.inputs()["params"] == {"values.yaml": {"factor": 5}}
        assert (Path(repo.root_dir) / "values.yaml").read_text() == "factor: 5\n"
        assert "values.yaml" in stage.sources()


def test_credentials_that_were_renewed_while_a_stage_ran_count(dvc_project):
    given = iter(["first", "second"])
    credentials = lambda: {"session_token": next(given)}  # noqa: E731
    with DvcWorkspace(dvc_project.path, remote_url="s3://bucket/dvc", credentials=credentials) as workspace:
        tokens = []
        for outdated in (False, False, True):
            if outdated:
                workspace.refresh()
            with workspace.repo() as repo:
                tokens.append(repo.config["remote"]["airflow"]["session_token"])

    assert tokens == ["first", "first", "second"]
