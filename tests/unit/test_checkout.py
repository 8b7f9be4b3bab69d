"""The project's own folder as a DVC checkout."""

import pytest

from include.checkout import configure, unconfigure
from include.settings import load_runtime_settings


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
