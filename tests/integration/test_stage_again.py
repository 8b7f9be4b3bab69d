"""A stage that runs again: by itself, by force, or for a later one whose input is missing."""

import shutil

import pytest

from dvc_airflow.errors import TaskError
from dvc_airflow.reproduce import Producer, no_producer
from dvc_airflow.result import StageResult
from tests.support.dvc_project import DVC_YAML, DvcProject


@pytest.fixture
def dvc_project(tmp_path):
    return DvcProject(tmp_path)


def producer(dvc_project, result: StageResult, lock: dict | None = None):
    """Finds the task of one stage, as an operator does."""
    run = dvc_project.stage_run(result.stage, lock, dag_id="producer")

    def find(stage: str) -> Producer:
        return (
            Producer(f"task_of_{stage}", lambda missing: run.reproduce(result, missing))
            if stage == result.stage
            else no_producer(stage)
        )

    return find


def test_a_missing_input_is_made_again_by_its_stage_and_the_stage_goes_on(dvc_project):
    made = dvc_project.run("make")
    dvc_project.object_with("2\n").unlink()

    result = dvc_project.run("use", made.lock, producer_of=producer(dvc_project, made))

    assert result.outcome == "executed"
    assert dvc_project.object_with("2\n").is_file()


def test_a_stage_that_makes_something_else_now_is_named_with_the_task_to_clear(dvc_project):
    made = dvc_project.run("make")
    dvc_project.object_with("2\n").unlink()
    other = made.model_copy(update={"stage": "make"})
    changed = DVC_YAML.replace("echo 2 > out/two", "echo 3 > out/two")
    (dvc_project.path / "dvc.yaml").write_text(changed)

    with pytest.raises(
        TaskError, match=r"was executed again with a different result\. Clear task task_of_make and all"
    ):
        dvc_project.run("use", made.lock, producer_of=producer(dvc_project, other))


def test_the_same_stage_again_in_the_same_dag_is_unchanged_with_memo_and_without(dvc_project):
    first, second = (dvc_project.stage_run("make", dag_id="dag").run() for _ in range(2))
    shutil.rmtree(dvc_project.cache / "airflow" / "sources")
    third = dvc_project.stage_run("make", dag_id="dag").run()

    assert [result.outcome for result in (first, second, third)] == ["executed", "unchanged", "unchanged"]
    assert first.lock == second.lock == third.lock
    assert second.executed_in == third.executed_in == first.executed_in is not None


def test_a_forced_stage_says_whether_it_reproduced(dvc_project):
    dvc_project.stage_run("make", dag_id="dag").run()

    forced = dvc_project.stage_run("make", dag_id="dag", force=True).run()

    assert forced.outcome == "executed"
    assert forced.reason == "forced by this run; reproduced: all outputs are the same"


def test_a_stage_whose_command_the_values_of_the_run_would_change_is_refused(dvc_project):
    (dvc_project.path / "dvc.yaml").write_text(DVC_YAML.replace("cp out/one copy.txt", "cp out/two copy.txt"))
    made = dvc_project.run("make")

    with pytest.raises(TaskError, match="stage one_file: the values of this run would change its command"):
        dvc_project.run("one_file", made.lock)


def test_a_folder_outside_the_project_is_an_output_too(dvc_project, tmp_path):
    place = tmp_path / "elsewhere"
    command = f"mkdir -p {place} && cp seed.txt {place}/x"
    text = f"stages:\n  make:\n    cmd: {command}\n    deps: [seed.txt]\n    outs:\n      - {place}: {{cache: false}}\n"
    (dvc_project.path / "dvc.yaml").write_text(text)

    results = [dvc_project.stage_run("make", dag_id="dag", command=command).run() for _ in range(2)]

    assert [result.outcome for result in results] == ["executed", "unchanged"]


def test_an_output_outside_the_project_is_made_again_when_it_is_not_as_it_was(dvc_project, tmp_path):
    place = tmp_path / "elsewhere.txt"
    command = f"cp seed.txt {place}"
    text = f"stages:\n  make:\n    cmd: {command}\n    deps: [seed.txt]\n    outs:\n      - {place}: {{cache: false}}\n"
    (dvc_project.path / "dvc.yaml").write_text(text)

    results = [dvc_project.stage_run("make", dag_id="dag", command=command).run() for _ in range(2)]
    place.write_text("changed by hand\n")
    results.append(dvc_project.stage_run("make", dag_id="dag", command=command).run())

    assert [result.outcome for result in results] == ["executed", "unchanged", "executed"]
    assert results[-1].reason == f"{place} of the earlier result: changed or gone"
    assert place.read_text() == "seed\n"
