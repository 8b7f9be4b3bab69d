"""The project's own folder as a DVC checkout."""

import json
import subprocess

import pytest

from include.checkout import behind, configure, materialise, unconfigure
from include.errors import PipelineError
from include.settings import load_runtime_settings
from include.settings.config_file import dump_yaml


@pytest.fixture
def checkout(tmp_path, config_document):
    """A checkout that was set up for the cache ``cache``."""
    from include.settings.config_file import validate_config

    (tmp_path / ".git").mkdir()
    (tmp_path / ".dvc").mkdir()
    runtime = load_runtime_settings(dvc_cache_dir=str(tmp_path / "cache"))

    def set_up():
        configure(tmp_path, validate_config(config_document), runtime)
        return tmp_path / ".dvc" / "config.local"

    return set_up


def test_what_was_set_up_is_taken_back_and_nothing_is_left(checkout, tmp_path):
    file = checkout()

    assert unconfigure(tmp_path, tmp_path / "cache")
    assert not file.exists()


def test_what_a_person_wrote_stays(checkout, tmp_path):
    file = tmp_path / ".dvc" / "config.local"
    file.write_text("['remote \"store\"']\nconnect_timeout = 5\n[core]\nautostage = true\n")
    checkout()

    assert unconfigure(tmp_path, tmp_path / "cache")
    said = file.read_text()
    assert "connect_timeout = 5" in said
    assert "autostage = true" in said
    assert "url" not in said
    assert "cache" not in said


def test_a_checkout_that_was_set_up_for_something_else_stays_as_it_is(checkout, tmp_path):
    file = checkout()
    before = file.read_bytes()

    assert not unconfigure(tmp_path, tmp_path / "other")
    assert file.read_bytes() == before
    assert not unconfigure(tmp_path / "elsewhere", tmp_path / "cache")


STATUS = {
    "get_data": [{"changed deps": {"config/config.yaml": {"data.source": "modified", "model": "new"}}}],
    "train": ["changed command", {"changed outs": {"models/model.pkl": "modified"}}],
}


def test_of_values_that_differ_those_are_named_that_stages_have():
    names = ["data.source", "data.version", "model.C", "models", "registry.evidence"]

    assert behind(STATUS, names) == ["data.source", "model.C"]


@pytest.mark.parametrize(
    ("source", "version", "changed", "left"),
    [
        ("data/{date:%Y}.csv", None, ["data.source", "data.version"], []),
        ("sklearn:iris", None, ["data.version"], []),
        ("sklearn:iris", None, ["data.source"], ["get_data"]),
        ("sklearn:iris", None, ["data.source", "data.version"], ["get_data"]),
        ("data/{date:%Y}.csv", "abc", ["data.version"], ["get_data"]),
        ("data/{date:%Y}.csv", None, ["data.source", "model.C"], ["get_data"]),
    ],
)
def test_only_what_the_configuration_leaves_open_is_no_change(
    tmp_path, monkeypatch, config_document, source, version, changed, left
):
    config_document["data"] |= {"source": source, "version": version}
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "config.yaml").write_bytes(dump_yaml(config_document).encode())
    status = {"get_data": [{"changed deps": {"config/config.yaml": dict.fromkeys(changed, "modified")}}]}
    done = subprocess.CompletedProcess([], 0, json.dumps(status), "")
    monkeypatch.setattr("include.checkout._dvc_checkout_and_status", lambda *_, **__: done)

    assert list(materialise(tmp_path, {}, {})) == left


@pytest.mark.parametrize(
    ("said", "then"),
    [
        ("ERROR: unexpected error - [Errno 1] Operation not permitted: 'reports'\n\nHaving any troubles? Hit us up!",
         "DVC says: ERROR: unexpected error - [Errno 1] Operation not permitted: 'reports' See to the file or folder"),
        ("ERROR: unable to remove 'm.pkl' without a confirmation.", "a confirmation. Move the files that it names"),
    ],
)  # fmt: skip
def test_what_to_do_is_by_what_dvc_says(tmp_path, monkeypatch, config_document, said, then):
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "config.yaml").write_bytes(dump_yaml(config_document).encode())
    done = subprocess.CompletedProcess([], 255, "", said)
    monkeypatch.setattr("include.checkout._dvc_checkout_and_status", lambda *_, **__: done)

    with pytest.raises(PipelineError, match="were not checked out") as caught:
        materialise(tmp_path, {}, {})

    assert then in str(caught.value)
