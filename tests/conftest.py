"""What all tests share: a copy of the project to work in, the services of a test run, and what a failed test shows."""

import os
import shutil
import tempfile
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.copies import BUILD, copy_of_project
from tests.support.describing import describing_here
from tests.support.shared_services import (
    FOLDER_VARIABLE,
    NOT_STARTED,
    OWNER_VARIABLE,
    ServicesError,
    shared_services,
    stop_shared_services,
)

if TYPE_CHECKING:
    from tests.support.deployment import Deployment

LONGEST = "test_scheduler.py"
DEPLOYMENTS = pytest.StashKey["list[Deployment]"]()  # of a test module


def pytest_configure(config: pytest.Config) -> None:
    """Have all that tests write below `BUILD`, a folder for the services that the workers share, and one thread each.

    Threads of OpenMP wait for each other in a loop: beside other tests, a training of a second takes half a minute.
    """
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    if "CHECK_PLANS" in os.environ:
        from tests.support.plan_check import check_plans

        check_plans()
    if hasattr(config, "workerinput"):
        return
    BUILD.mkdir(parents=True, exist_ok=True)
    os.environ["PYTEST_DEBUG_TEMPROOT"] = str(BUILD)
    os.environ[FOLDER_VARIABLE] = tempfile.mkdtemp(prefix="services-", dir=BUILD)
    # Before anything imports Airflow, which writes into its home then.
    os.environ["AIRFLOW_HOME"] = f"{os.environ[FOLDER_VARIABLE]}/airflow-home"
    os.environ[OWNER_VARIABLE] = str(os.getpid())


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files in random order, but the longest first and those of seconds last: else two workers wait for the third."""
    items.sort(key=lambda item: (item.path.parent.name == "unit", item.path.name != LONGEST))


def pytest_unconfigure(config: pytest.Config) -> None:
    """End the services, after all workers have ended."""
    if hasattr(config, "workerinput") or FOLDER_VARIABLE not in os.environ:
        return
    folder = Path(os.environ.pop(FOLDER_VARIABLE))
    stop_shared_services(folder)
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def copy_project() -> Callable[[], Path]:
    """Make a copy of the project's code, a git checkout like a fresh clone.

    Not below pytest's own folder: PostgreSQL, which a copy may run as another user, has to get there, and each pytest
    that root starts closes that folder to others.
    """
    return lambda: copy_of_project(Path(tempfile.mkdtemp(prefix="copy-", dir=os.environ[FOLDER_VARIABLE])) / "project")


@pytest.fixture(scope="session")
def project(copy_project: Callable[[], Path]) -> Path:
    """A copy that tests only read, or whose changes they take back."""
    return copy_project()


@pytest.fixture
def config_document() -> dict[str, Any]:
    """config/config.yaml as it stands, to change and validate."""
    from include.settings.config_file import read_config_document

    return read_config_document()


@pytest.fixture(scope="session")
def services(request: pytest.FixtureRequest) -> dict[str, Any]:
    """The copy of the project that the services were started from, and the environment in which it reaches them."""
    try:
        return shared_services()
    except ServicesError as error:
        request.session.shouldstop = NOT_STARTED  # every other test would say the same
        pytest.fail(str(error), pytrace=False)


@pytest.fixture(scope="module", autouse=True)
def describing() -> Iterator[None]:
    """Projects are described in this process; a file that is to have it as users do has a fixture of its own."""
    from dvc_airflow import project

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(project, "_describe", describing_here(project._describe))
        yield


@pytest.fixture(scope="module")
def make_deployment(
    services: dict[str, Any], tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> "Iterator[Callable[..., Deployment]]":
    """Set up a copy of the project against the running services; the name is of this module alone.

    Its stages start warm, as users' do; the server ends when its folder is gone.
    """
    from tests.support.deployment import new_deployment  # here: it imports MLflow, which unit tests do not need

    made = request.node.stash.setdefault(DEPLOYMENTS, [])

    def make(name: str, retries: int = 1) -> "Deployment":
        temporary = Path(tempfile.mkdtemp(prefix="dvc-test-", dir="/tmp"))  # not in pytest's: its path is too long
        made.append(new_deployment(services, name, tmp_path_factory.mktemp(name), retries, temporary))
        return made[-1]

    yield make
    for deployment in made:
        shutil.rmtree(deployment.env["TMPDIR"], ignore_errors=True)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A test that failed shows the ends of the logs of its deployment's Airflow and tasks, and of the services."""
    report = yield
    module = item.getparent(pytest.Module)
    if report.failed and module is not None:
        for deployment in module.stash.get(DEPLOYMENTS, []):
            report.sections += [(f"end of {file}", tail(file)) for file in logs_of(deployment)]
    return report


def logs_of(deployment: "Deployment") -> list[Path]:
    """Logs of a deployment's Airflow, and of the services that all deployments share."""
    return [
        *sorted((deployment.project / ".embedded").glob("*.log")),
        *sorted((deployment.state / "logs").glob("*.log")),
    ]


def tail(file: Path) -> str:
    """The last lines of a log."""
    return "\n".join(file.read_text(errors="replace").splitlines()[-25:])
