"""One stack for all tests, set up as by a user whose passwords are hard to quote; and the order of the files."""

import re
import socket
import subprocess
import zlib
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any, NoReturn

import pytest
from playwright.sync_api import Browser

from include.services.stack.env_file import ENV_FILE
from tests.stack.images import KEPT, prepare
from tests.stack.shown import BEGUN, now, what_happened
from tests.stack.stack import NotStartedError, Stack, engine, remove
from tests.support.airflow_api import wait_for
from tests.support.browser import chromium
from tests.support.copies import copy_of_project

NAME = "ml-pipeline-test"
STACK = pytest.StashKey[Stack]()  # of the session
# A stack is expensive to start. So first what needs none, then what needs LocalExecutor; then all containers are taken
# down and come up again with Celery, for what needs that. Within a file the order is any.
FIRST, LAST = ("test_refusals",), ("test_down_and_up", "test_workers")
# Every password that a person may choose has these in it.
AWKWARD = "$HOME/@:%'\"#\\ &?=+;{}"
CHOSEN = (
    "AIRFLOW_ADMIN_PASSWORD",
    "AIRFLOW_DB_PASSWORD",
    "AWS_SECRET_ACCESS_KEY",
    "MINIO_ROOT_PASSWORD",
    "MLFLOW_ADMIN_PASSWORD",
    "MLFLOW_DB_PASSWORD",
    "MLFLOW_STORE_SECRET_KEY",
    "MLFLOW_TRACKING_PASSWORD",
    "POSTGRES_PASSWORD",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    def rank(item: pytest.Item) -> int:
        name = item.path.stem
        return -1 if name in FIRST else LAST.index(name) + 1 if name in LAST else 0

    items.sort(key=rank)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A test that failed shows the runs and the ends of the containers' logs since it began."""
    report = yield
    stack = item.session.stash.get(STACK, None)
    if report.failed and stack and "checkout" in getattr(item, "fixturenames", ()):
        report.sections += what_happened(stack, item.stash[BEGUN])
    return report


def pytest_runtest_setup(item: pytest.Item) -> None:
    item.stash[BEGUN] = now()


@pytest.fixture(scope="session")
def images(request: pytest.FixtureRequest) -> Iterator[dict[str, str]]:
    if reason := engine():
        pytest.skip(f"the containers were not tried: {reason}")
    KEPT.mkdir(parents=True, exist_ok=True)
    with socket.socket(socket.AF_UNIX) as lock:
        try:
            lock.bind(f"\0{NAME}")  # a name without a file: it is free again however this process ends
        except OSError:  # two at once would remove each other's containers
            stop(request, "another run of these tests is under way on this machine")
        yield prepare()


def stop(request: pytest.FixtureRequest, reason: str, details: str = "") -> NoReturn:
    """End the test run: every other test would say the same."""
    request.session.shouldstop = reason
    pytest.fail(f"{reason}\n{details}", pytrace=False)


@pytest.fixture(scope="session")
def checkout(
    images: dict[str, str], tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[Stack]:
    """The stack before its first start, as its owner has set it up."""
    project = copy_of_project(tmp_path_factory.mktemp("stack") / "project")
    with_a_schedule(project)
    # Shorter than by default: a lost worker is waited for in each test run.
    stack = Stack(project, images, NAME, AIRFLOW_HEARTBEAT_TIMEOUT="30")
    stack.make("env")
    file = project / ENV_FILE
    text = file.read_text()
    for name in CHOSEN:
        text = re.sub(f"(?m)^({name}=)(.*)$", lambda found: f"{found[1]}'{quoted(found[2])}'", text)
    file.write_text(text)
    request.session.stash[STACK] = stack
    try:
        yield stack
    finally:
        logs = stack.compose("logs", "--no-color", "--timestamps", check=False)
        (KEPT / "containers.log").write_text(logs.stdout + logs.stderr)
        remove(NAME)


def with_a_schedule(project: Path) -> None:
    """Committed: the image is to know the commit that it was built from."""
    config = project / "config" / "config.yaml"
    text = config.read_text()
    assert text.count("cron: null") == 1
    config.write_text(text.replace("cron: null", 'cron: "0 0 * * *"'))
    user = ["-c", "user.name=test", "-c", "user.email=test@localhost"]
    subprocess.run(["git", *user, "commit", "--quiet", "--all", "--message", "daily"], cwd=project, check=True)


def quoted(secret: str) -> str:
    """A password of the user's own, as it stands between single quotes in an .env file."""
    return (secret[:12] + AWKWARD).replace("'", "\\'")


@pytest.fixture(scope="session")
def start(checkout: Stack, request: pytest.FixtureRequest) -> Callable[..., Stack]:
    """Have the stack running with one executor or the other."""

    def have(*, celery: bool) -> Stack:
        try:
            checkout.have(celery=celery)
        except NotStartedError as error:
            stop(request, "the stack did not start", f"`make up` said:\n{error}")
        return checkout

    return have


@pytest.fixture
def stack(start: Callable[..., Stack]) -> Stack:
    """All services, with LocalExecutor. A test may break them: what does not run is started for the next one."""
    return start(celery=False)


@pytest.fixture(scope="session")
def first_run(start: Callable[..., Stack]) -> str:
    """The run that the schedule started, when it has ended with success."""
    stack = start(celery=False)
    (run_id,) = wait_for(lambda: list(stack.api.runs("scheduled"))[-1:], 120)
    stack.api.finished(run_id)
    return run_id


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """The browser of this machine."""
    with chromium() as browser:
        yield browser


def slow_training(name: str) -> dict[str, Any]:
    """The conf of a run whose training takes some seconds: long enough for something to happen in the middle of it.

    :param name: of the registered model. Another name is another training: the same would be skipped.
    """
    seed = zlib.crc32(name.encode()) % 1000
    return {
        "data": {"source": "sklearn:digits"},
        "split": {"random_state": seed},
        "model": {"solver": "saga", "tol": 1e-12, "max_iter": 1000},
        "registry": {"model_name": name},
    }


def picture(name: str) -> Path:
    return KEPT / f"{name}.png"
