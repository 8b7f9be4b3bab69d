"""What `dvc_airflow` relies on in DVC's internals, with a real DVC project and a folder as the remote."""

import copy
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from dvc_airflow.lock import merge_locks
from dvc_airflow.objects import LostError, Objects
from dvc_airflow.outputs import objects_of, outputs_to_push, push_all, push_run_cache
from dvc_airflow.repo import open_repo
from dvc_airflow.stage_cache import StageCache
from dvc_airflow.workspace import Workspace

DVC_YAML = """
stages:
  make:
    cmd: mkdir -p out/sub && echo 1 > out/one && echo 2 > out/two && cp seed.txt out/sub/seed && echo 7 > score.json
    deps: [seed.txt]
    outs: [out]
    metrics: [score.json: {cache: false}]
  use:
    cmd: cat out/one out/two out/sub/seed > sum.txt
    deps: [out]
    params: [values.yaml: [factor]]
    outs: [sum.txt]
  one_file:
    cmd: cp out/one copy.txt
    deps: [out/one]
    outs: [copy.txt]
  sub_folder:
    cmd: cp out/sub/seed seed_copy.txt
    deps: [out/sub]
    outs: [seed_copy.txt]
  uncached:
    cmd: cp score.json read.json
    deps: [score.json]
    outs: [read.json]
  all_around:
    cmd: find results -type f | sort > list.txt
    deps: [results]
    outs: [list.txt]
  into_results:
    cmd: mkdir -p results && echo x > results/x
    deps: [seed.txt]
    outs: [results/x]
"""


STAGES = ("make", "use")


class Lab:
    """A project, a shared cache, and a remote."""

    def __init__(self, folder: Path) -> None:
        self.project, self.cache, self.remote = folder / "project", folder / "cache", folder / "remote"
        for path in (self.project, self.cache, self.remote):
            path.mkdir()
        (self.project / "dvc.yaml").write_text(DVC_YAML)
        (self.project / "seed.txt").write_text("seed\n")
        (self.project / "values.yaml").write_text("factor: 1\n")
        (self.project / "results").mkdir()
        (self.project / "results" / "README").write_text("what is here\n")

    @contextmanager
    def repo(self, lock: dict | None = None, *, cache: bool = True) -> Iterator[Any]:
        shared = self.cache if cache else None
        with (
            Workspace(self.project, lock=lock or {}, cache_dir=shared, remote_url=str(self.remote)) as workspace,
            open_repo(workspace) as repo,
        ):
            yield repo

    def run(self, stage: str, lock: dict | None = None, *, cache: bool = True) -> tuple[str, dict[str, Any]]:
        """As the operator does it: look the stage up, else run it. Returns what was done and the lock."""
        with self.repo(lock, cache=cache) as repo:
            known = StageCache(Objects(repo), stage)
            if found := known.find():
                return "restored", {"dvc.lock": {stage: found}}
            known.bring_inputs()
            dvc(Path(repo.root_dir), "repro", "--single-item", stage)
            entry = YAML(typ="safe").load((Path(repo.root_dir) / "dvc.lock").read_text())["stages"][stage]
            assert known.differs(entry) == []
            if not cache:
                objects = Objects(repo)
                repo._reset()
                push_all(objects, outputs_to_push(repo, [stage]))
                push_run_cache(repo, [entry])
            return "executed", {"dvc.lock": {stage: entry}}

    def push(self, lock: dict) -> None:
        with self.repo(lock) as repo:
            push_all(Objects(repo), outputs_to_push(repo, STAGES))
            push_run_cache(repo, lock["dvc.lock"].values())

    def object_with(self, text: str, where: Path | None = None) -> Path:
        """The object with this content."""
        files = [file for file in ((where or self.cache) / "files" / "md5").rglob("*") if file.is_file()]
        (found,) = [file for file in files if file.read_text() == text]
        found.chmod(0o644)
        return found


def dvc(folder: Path, *arguments: str) -> None:
    done = subprocess.run([sys.executable, "-m", "dvc", *arguments], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def out(lock: dict, stage: str, path: str) -> dict[str, Any]:
    (found,) = [one for one in lock["dvc.lock"][stage]["outs"] if one["path"] == path]
    return found


@pytest.fixture
def lab(tmp_path):
    return Lab(tmp_path)


@pytest.fixture(scope="module")
def ran_once(tmp_path_factory):
    """A lab in which two stages ran, and their lock: it takes seconds, so tests get copies."""
    lab = Lab(tmp_path_factory.mktemp("ran"))
    _, made = lab.run("make")
    _, used = lab.run("use", made)
    return lab, merge_locks([made, used])


@pytest.fixture
def ran(lab, ran_once):
    """The lock after two stages ran in the lab."""
    template, lock = ran_once
    for name in ("project", "cache", "remote"):
        shutil.copytree(getattr(template, name), getattr(lab, name), dirs_exist_ok=True)
    return copy.deepcopy(lock)


def test_a_stage_is_found_by_the_entries_before_it_without_any_data(lab, ran):
    assert lab.run("make") == ("restored", {"dvc.lock": {"make": ran["dvc.lock"]["make"]}})
    assert lab.run("use", ran) == ("restored", {"dvc.lock": {"use": ran["dvc.lock"]["use"]}})


@pytest.mark.parametrize(
    ("file", "text", "stage"),
    [("seed.txt", "other\n", "make"), ("values.yaml", "factor: 2\n", "use")],
)
def test_a_change_of_code_or_param_is_another_key(lab, ran, file, text, stage):
    (lab.project / file).write_text(text)

    assert lab.run(stage, ran)[0] == "executed"


def test_another_result_upstream_is_another_key(lab, ran):
    (lab.project / "seed.txt").write_text("other\n")
    _, made = lab.run("make")

    assert lab.run("use", made)[0] == "executed"


@pytest.mark.parametrize("stage", ["one_file", "sub_folder", "uncached"])
def test_a_part_of_a_folder_and_an_uncached_metric_are_inputs_like_others(lab, ran, stage):
    assert lab.run(stage, ran)[0] == "executed"
    shutil.rmtree(lab.project / "results")  # no business of theirs

    assert lab.run(stage, ran)[0] == "restored"


def test_only_the_part_that_is_needed_is_fetched(lab, ran):
    lab.push(ran)
    shutil.rmtree(lab.cache)

    assert lab.run("one_file", ran)[0] == "executed"

    fetched = {file.read_text() for file in (lab.cache / "files" / "md5").rglob("*") if file.is_file()}
    assert "1\n" in fetched
    assert {"2\n", "seed\n"} & fetched == set()


def test_a_folder_with_an_output_in_it_is_an_input_as_a_whole(lab):
    _, made = lab.run("into_results")

    outcome, lock = lab.run("all_around", made)

    assert outcome == "executed"
    listing = lab.cache / "files" / "md5" / out(lock, "all_around", "list.txt")["md5"][:2]
    assert [file.read_text() for file in listing.iterdir()] == ["results/README\nresults/x\n"]
    assert lab.run("all_around", made)[0] == "restored"
    (lab.project / "results" / "README").write_text("changed\n")
    assert lab.run("all_around", made)[0] == "executed"


def test_left_overs_in_the_project_are_not_taken_for_the_output_of_the_stage_before(lab, ran):
    (lab.project / "out").mkdir()
    (lab.project / "out" / "one").write_text("stale\n")
    (lab.project / "values.yaml").write_text("factor: 3\n")

    outcome, lock = lab.run("use", ran)

    assert outcome == "executed"
    assert lock["dvc.lock"]["use"]["outs"] == ran["dvc.lock"]["use"]["outs"]


def test_a_result_whose_object_is_gone_is_not_restored(lab, ran):
    lab.object_with("1\n2\nseed\n").unlink()

    assert lab.run("use", ran)[0] == "executed"


def test_a_result_whose_object_is_corrupted_is_not_restored_and_the_object_goes(lab, ran):
    victim = lab.object_with("1\n2\nseed\n")
    victim.write_text("1\n2\nSEED\n")
    victim.chmod(0o444)  # as DVC leaves them; it trusts what is read-only

    assert lab.run("use", ran)[0] == "executed"
    assert victim.read_text() == "1\n2\nseed\n"


@pytest.mark.parametrize("damage", ["gone", "corrupted", "half"])
def test_a_damaged_input_is_found_before_it_is_read(lab, ran, damage):
    victim = lab.object_with("2\n")
    {
        "gone": victim.unlink,
        "corrupted": lambda: victim.write_text("3\n"),
        "half": lambda: victim.write_text(""),
    }[damage]()
    (lab.project / "values.yaml").write_text("factor: 4\n")

    with pytest.raises(LostError, match=r"out/two: missing from the cache and the store") as caught:
        lab.run("use", ran)

    assert caught.value.maker == "make"
    assert not victim.exists()


def test_a_damaged_input_comes_from_the_remote_if_that_has_it(lab, ran):
    lab.push(ran)
    lab.object_with("2\n").write_text("3\n")
    (lab.project / "values.yaml").write_text("factor: 4\n")

    outcome, lock = lab.run("use", ran)

    assert outcome == "executed"
    assert lock["dvc.lock"]["use"]["outs"] == ran["dvc.lock"]["use"]["outs"]


def test_an_empty_cache_restores_from_the_remote_and_moves_no_data(lab, ran):
    lab.push(ran)
    shutil.rmtree(lab.cache)

    assert lab.run("use", ran)[0] == "restored"
    assert [file for file in (lab.cache / "files").rglob("*") if file.is_file()] == []


def test_without_a_shared_cache_everything_goes_through_the_remote(lab):
    shutil.rmtree(lab.cache)
    _, made = lab.run("make", cache=False)

    assert lab.run("use", made, cache=False)[0] == "executed"
    assert lab.run("uncached", made, cache=False)[0] == "executed"
    assert lab.run("use", made, cache=False)[0] == "restored"
    assert not lab.cache.exists()


@pytest.mark.parametrize("damage", [lambda text: text[: len(text) // 2], lambda text: text.replace("seed.txt", "x")])
def test_a_run_cache_entry_that_was_cut_short_or_changed_is_refused(lab, ran, damage):
    lab.push(ran)
    shutil.rmtree(lab.cache)
    for file in (lab.remote / "runs").rglob("*"):
        if file.is_file() and "seed.txt" in (text := file.read_text()):
            file.write_text(damage(text))

    assert lab.run("make")[0] == "executed"


def test_a_file_of_a_folder_that_the_remote_lacks_is_found_and_healed(lab, ran):
    with lab.repo(ran) as repo:
        dvc(Path(repo.root_dir), "push")
        objects = Objects(repo)
        outs = outputs_to_push(repo, STAGES)
        assert [one.name for one in objects.absent_from_remote(objects_of(objects, outs))] == ["score.json"]
        lab.object_with("2\n", lab.remote).unlink()
        lab.object_with("1\n", lab.remote).write_text("longer\n")
        absent = objects.absent_from_remote(objects_of(objects, outs))
        assert {one.name for one in absent} == {"score.json", "out/one", "out/two"}

        sizes = push_all(objects, outs)

        assert objects.absent_from_remote(objects_of(objects, outs)) == []
        assert len(sizes) == 6  # the list of the folder, its three files, the sum, the metric
        assert lab.object_with("2\n", lab.remote).is_file()


def test_what_neither_has_is_named_with_the_stage_that_makes_it(lab, ran):
    lab.object_with("2\n").unlink()

    with lab.repo(ran) as repo, pytest.raises(LostError, match="out/two") as caught:
        push_all(Objects(repo), outputs_to_push(repo, STAGES))

    assert caught.value.maker == "make"


def test_a_params_file_has_the_values_of_this_run_also_where_dvc_tracks_it(lab):
    _, lock = lab.run("make")
    dvc(lab.project, "init", "--no-scm", "--quiet")
    dvc(lab.project, "add", "--quiet", "values.yaml")
    (lab.project / "values.yaml").unlink()
    (lab.project / "values.yaml").write_text("factor: 5\n")

    with lab.repo(lock) as repo:
        cache = StageCache(Objects(repo), "use")
        cache.bring_inputs()

        assert cache.inputs()["params"] == {"values.yaml": {"factor": 5}}
        assert (Path(repo.root_dir) / "values.yaml").read_text() == "factor: 5\n"
        assert "values.yaml" in cache.files()


def test_credentials_that_were_renewed_while_a_stage_ran_count(lab):
    given = iter(["first", "second"])
    with Workspace(lab.project, remote_url="s3://bucket/dvc") as workspace:
        tokens = []
        for outdated in (False, False, True):
            workspace.is_outdated = outdated
            with open_repo(workspace, lambda: {"session_token": next(given)}) as repo:
                tokens.append(repo.config["remote"]["airflow"]["session_token"])

    assert tokens == ["first", "first", "second"]
