"""Real parts for the integration tests: PostgreSQL, an S3 store and MLflow, started once, stopped at the end."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.lab import Site, new_site, running_parts

# The files that take longest, each of which one worker runs: last, they would keep it busy while the others are idle.
LONGEST_FIRST = (
    "test_scheduler",
    "test_embedded",
    "test_cli",
    "test_promotion",
    "test_outages",
    "test_bad_input",
)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    def place(item: pytest.Item) -> int:
        return LONGEST_FIRST.index(item.path.stem) if item.path.stem in LONGEST_FIRST else len(LONGEST_FIRST)

    items.sort(key=place)


@pytest.fixture(scope="session")
def parts(copy_project: Callable[[], Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """The running parts, and the copy of the project that they were started from."""
    with running_parts(copy_project(), tmp_path_factory.mktemp("embedded")) as site:
        yield site


@pytest.fixture(scope="session")
def make_site(
    copy_project: Callable[[], Path], parts: Site, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Site]:
    """Set up another copy of the project against the running parts."""
    return lambda name: new_site(copy_project, parts, name, tmp_path_factory.mktemp("temporary"))
