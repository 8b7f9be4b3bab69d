"""A stage's life in a real DVC project with a folder as the remote, and what it relies on in DVC's internals."""

import copy
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from dvc_airflow.dvc.object import MissingObjectsError
from dvc_airflow.dvc.objects import Objects
from dvc_airflow.dvc.outputs import objects_of, outputs_to_push, push_outputs
from dvc_airflow.dvc.repo import DvcWorkspace
from dvc_airflow.dvc.resolve import ResolvedStage
from dvc_airflow.dvc.run_cache import RunCache
from dvc_airflow.errors import TaskError
from dvc_airflow.lockfile import merge_locks
from dvc_airflow.project_run import ProjectRun
from dvc_airflow.reproduce import Producer, no_producer
from dvc_airflow.result import StageResult
from dvc_airflow.stage_run import StageRun
from dvc_airflow.stage_settings import StageSettings

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
COMMANDS = {
    line.split(":")[0].strip(): command.removeprefix("    cmd: ")
    for line, command in zip(DVC_YAML.splitlines(), DVC_YAML.splitlines()[1:], strict=False)
    if command.startswith("    cmd: ")
}


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

    def project_run(self, dag_id: str, *, cache: bool = True) -> ProjectRun:
        return ProjectRun(
            self.project,
            dag_id=dag_id,
            run_id=uuid4().hex,
            cache_dir=self.cache if cache else None,
            remote_url=str(self.remote),
        )

    @contextmanager
    def repo(self, lock: dict | None = None) -> Iterator[Any]:
        with self.project_run("lab").workspace(lock or {}) as workspace, workspace.repo() as repo:
            yield repo

    def stage_run(
        self, stage: str, lock: dict | None = None, *, dag_id: str, cache: bool = True, **options: Any
    ) -> StageRun:
        settings = StageSettings(stage, f"dvc repro --single-item {stage}", COMMANDS[stage], ("dvc.yaml",))
        return StageRun(self.project_run(dag_id, cache=cache), settings, lock or {}, **options)

    def run(self, stage: str, lock: dict | None = None, *, cache: bool = True, **options: Any) -> StageResult:
        """Run a stage in a DAG that has not run before, by the run-cache and not by the memo."""
        shutil.rmtree(self.cache / "airflow" / "sources", ignore_errors=True)
        return self.stage_run(stage, lock, dag_id=uuid4().hex, cache=cache, **options).run()

    def push(self, lock: dict) -> None:
        with self.repo(lock) as repo:
            push_outputs(Objects(repo), outputs_to_push(repo, STAGES))
            RunCache(repo).push(lock["dvc.lock"].values())

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
    made = lab.run("make").lock
    used = lab.run("use", made).lock
    return lab, merge_locks([made, used])


@pytest.fixture
def ran(lab, ran_once):
    """The lock after two stages ran in the lab."""
    template, lock = ran_once
    for name in ("project", "cache", "remote"):
        shutil.copytree(getattr(template, name), getattr(lab, name), dirs_exist_ok=True)
    return copy.deepcopy(lock)


def test_a_stage_is_found_by_the_entries_before_it_without_any_data(lab, ran):
    for stage, upstream in (("make", {}), ("use", ran)):
        result = lab.run(stage, upstream)

        assert result.outcome == "restored"
        assert result.lock == {"dvc.lock": {stage: ran["dvc.lock"][stage]}}


@pytest.mark.parametrize(
    ("file", "text", "stage"),
    [("seed.txt", "other\n", "make"), ("values.yaml", "factor: 2\n", "use")],
)
def test_a_change_of_code_or_param_is_another_key(lab, ran, file, text, stage):
    (lab.project / file).write_text(text)

    assert lab.run(stage, ran).outcome == "executed"


def test_another_result_upstream_is_another_key(lab, ran):
    (lab.project / "seed.txt").write_text("other\n")
    made = lab.run("make").lock

    assert lab.run("use", made).outcome == "executed"


@pytest.mark.parametrize("stage", ["one_file", "sub_folder", "uncached"])
def test_a_part_of_a_folder_and_an_uncached_metric_are_inputs_like_others(lab, ran, stage):
    assert lab.run(stage, ran).outcome == "executed"
    shutil.rmtree(lab.project / "results")  # no business of theirs

    assert lab.run(stage, ran).outcome == "restored"


def test_only_the_part_that_is_needed_is_fetched(lab, ran):
    lab.push(ran)
    shutil.rmtree(lab.cache)

    assert lab.run("one_file", ran).outcome == "executed"

    fetched = {file.read_text() for file in (lab.cache / "files" / "md5").rglob("*") if file.is_file()}
    assert "1\n" in fetched
    assert {"2\n", "seed\n"} & fetched == set()


def test_a_folder_with_an_output_in_it_is_an_input_as_a_whole(lab):
    made = lab.run("into_results").lock

    result = lab.run("all_around", made)

    assert result.outcome == "executed"
    listing = lab.cache / "files" / "md5" / out(result.lock, "all_around", "list.txt")["md5"][:2]
    assert [file.read_text() for file in listing.iterdir()] == ["results/README\nresults/x\n"]
    assert lab.run("all_around", made).outcome == "restored"
    (lab.project / "results" / "README").write_text("changed\n")
    assert lab.run("all_around", made).outcome == "executed"


def test_left_overs_in_the_project_are_not_taken_for_the_output_of_the_stage_before(lab, ran):
    (lab.project / "out").mkdir()
    (lab.project / "out" / "one").write_text("stale\n")
    (lab.project / "values.yaml").write_text("factor: 3\n")

    result = lab.run("use", ran)

    assert result.outcome == "executed"
    assert result.entry["outs"] == ran["dvc.lock"]["use"]["outs"]


def test_a_result_whose_object_is_gone_is_not_restored(lab, ran):
    lab.object_with("1\n2\nseed\n").unlink()

    assert lab.run("use", ran).outcome == "executed"


def test_a_result_whose_object_is_corrupted_is_not_restored_and_the_object_goes(lab, ran):
    victim = lab.object_with("1\n2\nseed\n")
    victim.write_text("1\n2\nSEED\n")
    victim.chmod(0o444)  # as DVC leaves them; it trusts what is read-only

    assert lab.run("use", ran).outcome == "executed"
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

    with pytest.raises(TaskError, match="Run stage make, which makes it, once more"):
        lab.run("use", ran)

    assert not victim.exists()


def test_a_damaged_input_comes_from_the_remote_if_that_has_it(lab, ran):
    lab.push(ran)
    lab.object_with("2\n").write_text("3\n")
    (lab.project / "values.yaml").write_text("factor: 4\n")

    result = lab.run("use", ran)

    assert result.outcome == "executed"
    assert result.entry["outs"] == ran["dvc.lock"]["use"]["outs"]


def test_an_empty_cache_restores_from_the_remote_and_moves_no_data(lab, ran):
    lab.push(ran)
    shutil.rmtree(lab.cache)

    assert lab.run("use", ran).outcome == "restored"
    assert [file for file in (lab.cache / "files").rglob("*") if file.is_file()] == []


def test_without_a_shared_cache_everything_goes_through_the_remote(lab):
    shutil.rmtree(lab.cache)
    made = lab.run("make", cache=False).lock

    assert lab.run("use", made, cache=False).outcome == "executed"
    assert lab.run("uncached", made, cache=False).outcome == "executed"
    assert lab.run("use", made, cache=False).outcome == "restored"
    assert not lab.cache.exists()


@pytest.mark.parametrize("damage", [lambda text: text[: len(text) // 2], lambda text: text.replace("seed.txt", "x")])
def test_a_run_cache_entry_that_was_cut_short_or_changed_is_refused(lab, ran, damage):
    lab.push(ran)
    shutil.rmtree(lab.cache)
    for file in (lab.remote / "runs").rglob("*"):
        if file.is_file() and "seed.txt" in (text := file.read_text()):
            file.write_text(damage(text))

    assert lab.run("make").outcome == "executed"


def test_a_file_of_a_folder_that_the_remote_lacks_is_found_and_healed(lab, ran):
    with lab.repo(ran) as repo:
        dvc(Path(repo.root_dir), "push")
        objects = Objects(repo)
        outs = outputs_to_push(repo, STAGES)
        assert [one.name for one in objects.remote.missing(objects_of(objects, outs))] == ["score.json"]
        lab.object_with("2\n", lab.remote).unlink()
        lab.object_with("1\n", lab.remote).write_text("longer\n")
        absent = objects.remote.missing(objects_of(objects, outs))
        assert {one.name for one in absent} == {"score.json", "out/one", "out/two"}

        sizes = push_outputs(objects, outs)

        assert objects.remote.missing(objects_of(objects, outs)) == []
        assert len(sizes) == 6  # the list of the folder, its three files, the sum, the metric
        assert lab.object_with("2\n", lab.remote).is_file()


def test_what_neither_has_is_named_with_the_stage_that_makes_it(lab, ran):
    lab.object_with("2\n").unlink()

    with lab.repo(ran) as repo, pytest.raises(MissingObjectsError, match="out/two") as caught:
        push_outputs(Objects(repo), outputs_to_push(repo, STAGES))

    assert caught.value.producer == "make"


def test_a_params_file_has_the_values_of_this_run_also_where_dvc_tracks_it(lab):
    lock = lab.run("make").lock
    dvc(lab.project, "init", "--no-scm", "--quiet")
    dvc(lab.project, "add", "--quiet", "values.yaml")
    (lab.project / "values.yaml").unlink()
    (lab.project / "values.yaml").write_text("factor: 5\n")

    with lab.repo(lock) as repo:
        stage = ResolvedStage(Objects(repo), "use")
        stage.fetch_inputs()

        assert stage.inputs()["params"] == {"values.yaml": {"factor": 5}}
        assert (Path(repo.root_dir) / "values.yaml").read_text() == "factor: 5\n"
        assert "values.yaml" in stage.sources()


def test_credentials_that_were_renewed_while_a_stage_ran_count(lab):
    given = iter(["first", "second"])
    credentials = lambda: {"session_token": next(given)}  # noqa: E731
    with DvcWorkspace(lab.project, remote_url="s3://bucket/dvc", credentials=credentials) as workspace:
        tokens = []
        for outdated in (False, False, True):
            if outdated:
                workspace.refresh()
            with workspace.repo() as repo:
                tokens.append(repo.config["remote"]["airflow"]["session_token"])

    assert tokens == ["first", "first", "second"]


def producer(lab, result: StageResult, lock: dict | None = None):
    """Finds the task of one stage, as an operator does."""
    run = lab.stage_run(result.stage, lock, dag_id="producer")

    def find(stage: str) -> Producer:
        return (
            Producer(f"task_of_{stage}", lambda missing: run.reproduce(result, missing))
            if stage == result.stage
            else no_producer(stage)
        )

    return find


def test_a_missing_input_is_made_again_by_its_stage_and_the_stage_goes_on(lab):
    made = lab.run("make")
    lab.object_with("2\n").unlink()

    result = lab.run("use", made.lock, producer_of=producer(lab, made))

    assert result.outcome == "executed"
    assert lab.object_with("2\n").is_file()


def test_a_stage_that_makes_something_else_now_is_named_with_the_task_to_clear(lab):
    made = lab.run("make")
    lab.object_with("2\n").unlink()
    other = made.model_copy(update={"stage": "make"})
    changed = DVC_YAML.replace("echo 2 > out/two", "echo 3 > out/two")
    (lab.project / "dvc.yaml").write_text(changed)

    with pytest.raises(TaskError, match=r"ran again and made something else\. Clear task task_of_make and all"):
        lab.run("use", made.lock, producer_of=producer(lab, other))


def test_the_same_stage_again_in_the_same_dag_is_unchanged_with_memo_and_without(lab):
    first, second = (lab.stage_run("make", dag_id="dag").run() for _ in range(2))
    shutil.rmtree(lab.cache / "airflow" / "sources")
    third = lab.stage_run("make", dag_id="dag").run()

    assert [result.outcome for result in (first, second, third)] == ["executed", "unchanged", "unchanged"]
    assert first.lock == second.lock == third.lock
    assert second.executed_in == third.executed_in == first.executed_in is not None


def test_a_forced_stage_says_whether_it_reproduced(lab):
    lab.stage_run("make", dag_id="dag").run()

    forced = lab.stage_run("make", dag_id="dag", force=True).run()

    assert forced.outcome == "executed"
    assert forced.reason == "forced by this run; reproduced: all outputs are the same"


def test_a_stage_whose_command_the_values_of_the_run_would_change_is_refused(lab):
    (lab.project / "dvc.yaml").write_text(DVC_YAML.replace("cp out/one copy.txt", "cp out/two copy.txt"))
    made = lab.run("make")

    with pytest.raises(TaskError, match="stage one_file: the values of this run would change its command"):
        lab.run("one_file", made.lock)
