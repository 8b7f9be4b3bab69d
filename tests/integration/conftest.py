"""What the tests of pushes and of collections share."""

from pathlib import Path
from typing import Any

import pytest

from tests.support.pushed import Pushed, client_with_bucket, new_pushed


@pytest.fixture(scope="module")
def s3(services: dict[str, Any]) -> Any:
    """A client of the store, where the bucket of `Pushed` is."""
    return client_with_bucket(services)


@pytest.fixture
def pushed(services: dict[str, Any], s3: Any, tmp_path: Path) -> Pushed:
    """A project with a stage, and a remote of its own in that bucket."""
    return new_pushed(services, tmp_path)
