"""The life of a stage with a real S3 store and without Airflow: executed, restored, unchanged, missing, reproduced."""

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from dvc_airflow.errors import RemoteError, RemoteRefusedError
from dvc_airflow.project_run import ProjectRun
from dvc_airflow.push_run import PushRun
from dvc_airflow.reproduce import Producer
from dvc_airflow.result import Outcome, StageResult
from dvc_airflow.stage_run import StageRun
from dvc_airflow.stage_settings import StageSettings
from tests.support.proxy import proxy_to
from tests.support.pushed import client_with_bucket

BUCKET = "stage-run"
COMMANDS = {"make": "mkdir -p out && cp seed.txt out/one && echo 2 > out/two", "use": "cat out/one out/two > sum.txt"}
DVC_YAML = f"""\
stages:
  make:
    cmd: {COMMANDS["make"]}
    deps: [seed.txt]
    outs: [out]
  use:
    cmd: {COMMANDS["use"]}
    deps: [out]
    params: [factor]
    outs: [sum.txt]
"""


class Project:
    """A DVC project whose remote is in the store, under a prefix of its own."""

    def __init__(self, folder: Path, env: dict[str, str], name: str) -> None:
        self.folder, self.cache, self.env, self.prefix = folder / "project", folder / "cache", env, name
        self.folder.mkdir()
        (self.folder / "dvc.yaml").write_text(DVC_YAML)
        (self.folder / "seed.txt").write_text("seed\n")
        (self.folder / "params.yaml").write_text("factor: 1\n")

    def project_run(self, run_id: str, *, shared: bool, endpoint: str | None = None, **keys: str) -> ProjectRun:
        credentials = {
            "endpointurl": endpoint or self.env["AWS_ENDPOINT_URL"],
            "access_key_id": self.env["AWS_ACCESS_KEY_ID"],
            "secret_access_key": self.env["AWS_SECRET_ACCESS_KEY"],
            **keys,
        }
        return ProjectRun(
            self.folder,
            dag_id="dag",
            run_id=run_id,
            cache_dir=self.cache if shared else None,
            remote_url=f"s3://{BUCKET}/{self.prefix}",
            remote_options={"connect_timeout": 2, "read_timeout": 2},
            credentials=lambda: credentials,
        )

    def stage_run(self, run: ProjectRun, stage: str, *upstream: StageResult, **options: Any) -> StageRun:
        settings = StageSettings(stage, f"dvc repro --single-item {stage}", COMMANDS[stage], ("dvc.yaml",))
        lock = {file: stages for result in upstream for file, stages in result.lock.items()}
        return StageRun(run, settings, lock, **options)

    def run(self, run_id: str, *, shared: bool = True) -> tuple[StageResult, StageResult]:
        """Both stages and the push, as a DAG has them."""
        run = self.project_run(run_id, shared=shared)
        made = self.stage_run(run, "make").run()
        used = self.stage_run(run, "use", made).run()
        PushRun(run, [made, used], environment=lambda: {**self.env}).run()
        return made, used


@pytest.fixture(scope="module")
def s3(services):
    return client_with_bucket(services, BUCKET)


@pytest.fixture
def project(services, s3, tmp_path) -> Project:
    return Project(tmp_path, services["env"], tmp_path.name)


def outcomes(*results: StageResult) -> list[Outcome]:
    return [result.outcome for result in results]


def delete_object(s3: Any, project: Project, result: StageResult) -> None:
    """The last file of the result, in the store and in the cache."""
    text = {"make": "2\n", "use": "seed\n2\n"}[result.stage]
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=f"{project.prefix}/files/"):
        for item in page.get("Contents", []):
            if s3.get_object(Bucket=BUCKET, Key=item["Key"])["Body"].read().decode() == text:
                s3.delete_object(Bucket=BUCKET, Key=item["Key"])
                (project.cache / item["Key"].removeprefix(f"{project.prefix}/")).unlink(missing_ok=True)
                return
    raise AssertionError(f"no object holds {text!r}")


@pytest.mark.parametrize("shared", [True, False])
def test_a_stage_is_executed_then_unchanged_then_executed_with_another_value_then_restored(project, shared):
    first = project.run("first", shared=shared)
    second = project.run("second", shared=shared)
    (project.folder / "params.yaml").write_text("factor: 2\n")
    third = project.run("third", shared=shared)
    (project.folder / "params.yaml").write_text("factor: 1\n")
    fourth = project.run("fourth", shared=shared)

    assert outcomes(*first) == [Outcome.EXECUTED] * 2
    assert outcomes(*second) == [Outcome.UNCHANGED] * 2
    assert outcomes(*third) == [Outcome.UNCHANGED, Outcome.EXECUTED]
    assert outcomes(*fourth) == [Outcome.UNCHANGED, Outcome.RESTORED]
    assert third[1].reason == "factor 1 -> 2"
    assert fourth[1].executed_in == "first"
    assert fourth[1].lock == first[1].lock


def test_an_empty_cache_restores_from_the_store(project):
    first = project.run("first")
    shutil.rmtree(project.cache)

    second = project.run("second")

    assert outcomes(*second) == [Outcome.RESTORED] * 2
    assert [result.lock for result in second] == [result.lock for result in first]


def test_a_missing_input_is_reproduced_by_its_stage(project, s3):
    made, _ = project.run("first")
    delete_object(s3, project, made)
    (project.folder / "params.yaml").write_text("factor: 3\n")
    run = project.project_run("second", shared=True)
    known = project.stage_run(run, "make")

    def producer_of(stage: str) -> Producer:
        assert stage == "make"
        return Producer("stages.make", lambda missing: known.reproduce(made, missing))

    used = project.stage_run(run, "use", made, producer_of=producer_of).run()
    pushed = PushRun(run, [made, used], environment=lambda: {**project.env}).run()

    assert used.outcome is Outcome.EXECUTED
    assert pushed.pushed > 0
    assert pushed.objects == 4  # the list of the folder, its two files, the sum


def test_a_result_that_is_missing_everywhere_is_executed_again(project, s3):
    first = project.run("first")
    delete_object(s3, project, first[1])

    second = project.run("second")

    assert outcomes(*second) == [Outcome.UNCHANGED, Outcome.EXECUTED]
    assert second[1].reason == "sum.txt of the earlier result: missing or corrupted"


def test_a_store_that_is_silent_fails_the_look_up_with_its_address(project):
    with proxy_to(project.env["AWS_ENDPOINT_URL"]) as store:
        store.silent = lambda line: True
        run = project.project_run("first", shared=False, endpoint=store.url)

        with pytest.raises(
            RemoteError, match=f"s3://{BUCKET}/{project.prefix} at {store.url} does not answer"
        ) as caught:
            project.stage_run(run, "make").run()

    assert not caught.value.is_final


def test_wrong_credentials_are_final(project):
    run = project.project_run("first", shared=False, secret_access_key="wrong")

    with pytest.raises(RemoteRefusedError, match="refuses the credentials") as caught:
        project.stage_run(run, "make").run()

    assert caught.value.is_final


def test_it_needs_no_airflow():
    code = "import sys; from dvc_airflow.stage_run import StageRun; print('airflow' in sys.modules)"
    plugins = Path(__file__).parents[2] / "plugins"

    done = subprocess.run(
        [sys.executable, "-c", code], env={"PYTHONPATH": str(plugins)}, capture_output=True, text=True
    )

    assert (done.returncode, done.stdout) == (0, "False\n"), done.stderr
