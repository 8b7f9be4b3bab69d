"""A push of what an earlier push has proved to be there: the store alone is asked, and DVC only where it differs."""

import logging
import shutil
from typing import Any

import pytest

from dvc_airflow.errors import RemoteError
from dvc_airflow.project_run import ProjectRun
from tests.support.proxy import proxy_to
from tests.support.pushed import BUCKET, Pushed, make, stored


@pytest.fixture
def pushed(pushed) -> Pushed:
    """Pushed once."""
    pushed.push()
    return pushed


@pytest.fixture
def opened(monkeypatch) -> list[str]:
    """The runs that opened a workspace for DVC."""
    runs: list[str] = []
    workspace = ProjectRun.workspace

    def noted(self: ProjectRun, *arguments: Any, **options: Any) -> Any:
        runs.append(self.run_id)
        return workspace(self, *arguments, **options)

    monkeypatch.setattr(ProjectRun, "workspace", noted)
    return runs


def locks(s3: Any, pushed: Pushed) -> dict[str, bytes]:
    found = stored(s3, pushed, "airflow")
    return {name: s3.get_object(Bucket=BUCKET, Key=key)["Body"].read() for name, key in found.items()}


def test_dvc_is_not_opened_and_the_runs_lock_is_there(s3, pushed, opened, caplog):
    caplog.set_level(logging.INFO)
    before, files = locks(s3, pushed), stored(s3, pushed, "files")

    result = pushed.push()

    assert opened == []
    assert (result.objects, result.pushed) == (len(pushed.cached()), 0)
    assert result.bytes == sum(map(len, pushed.cached().values()))
    assert f"{result.objects} objects ({result.bytes} bytes) of this run are in s3://{BUCKET}" in caplog.text
    after = locks(s3, pushed)
    assert stored(s3, pushed, "files") == files
    (new,) = after.keys() - before.keys()
    (last,) = (name for name in after if name.startswith("last_run"))
    assert after[new] == after[last] != before[last]


@pytest.mark.parametrize("folder", ["files", "runs"])
@pytest.mark.parametrize("damage", ["gone", "changed"])
def test_what_the_remote_has_lost_is_pushed_again(s3, pushed, opened, folder, damage):
    whole = {key: s3.get_object(Bucket=BUCKET, Key=key)["Body"].read() for key in stored(s3, pushed, folder).values()}
    assert whole
    for key, content in whole.items():
        if damage == "gone":
            s3.delete_object(Bucket=BUCKET, Key=key)
        else:
            s3.put_object(Bucket=BUCKET, Key=key, Body=b"x" * len(content))

    pushed.push()

    assert opened
    for key, content in whole.items():
        assert s3.get_object(Bucket=BUCKET, Key=key)["Body"].read() == content


def test_other_results_definitions_and_remotes_are_pushed_by_dvc(s3, pushed, opened):
    make(pushed, 'open("out", "w").write("other")\n')
    assert pushed.push().pushed == 1
    pushed.prefix += "-elsewhere"
    assert pushed.push().pushed == 1
    count = len(opened)
    pushed.push()
    assert len(opened) == count
    definition = pushed.folder / "project" / "dvc.yaml"
    definition.write_text(definition.read_text().replace("outs: [out]", "outs: [{out: {push: false}}]"))

    assert pushed.push().objects == 0

    assert len(opened) > count


def test_data_beside_the_stages_are_left_to_dvc(pushed, opened):
    """How much of it a push has to push depends on what is at hand."""
    (pushed.folder / "project" / "data.dvc").write_text(
        "outs:\n- {md5: d8e8fca2dc0f896fd7cb4cb0031ba249, size: 5, hash: md5, path: data}\n"
    )
    shutil.rmtree(pushed.folder / "cache" / "airflow" / "pushes")
    pushed.push()
    opened.clear()

    pushed.push()

    assert opened


@pytest.mark.parametrize("text", ["", "[]", '{"found": 1}', '{"objects": 1, "bytes": 1, "found": {"x": [1]}}'])
def test_a_damaged_memory_is_no_memory(pushed, opened, text):
    for file in (pushed.folder / "cache" / "airflow" / "pushes").iterdir():
        file.write_text(text)

    assert pushed.push().objects == len(pushed.cached())

    assert opened


def test_a_remote_that_is_gone_or_refuses_is_named(pushed, opened):
    with proxy_to(pushed.endpoint) as store:
        pushed.endpoint = store.url
        pushed.push()  # another address: pushed by DVC, and remembered
        store.refused = lambda line: True
        with pytest.raises(RemoteError, match=f"{store.url} refuses the credentials"):
            pushed.push()
        opened.clear()
    with pytest.raises(RemoteError, match=f"s3://{BUCKET}/{pushed.prefix} at {store.url} does not answer") as caught:
        pushed.push()

    assert opened == []
    assert pushed.keys[1] not in str(caught.value)


def test_credentials_that_others_know_are_asked_by_dvc(pushed, opened, monkeypatch):
    for name, value in pushed.environment().items():
        if name.startswith("AWS_"):
            monkeypatch.setenv(name, value)
    monkeypatch.setattr(Pushed, "credentials", lambda self: {"endpointurl": self.endpoint})

    assert pushed.push().objects == len(pushed.cached())

    assert opened
