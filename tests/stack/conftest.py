"""One stack for all tests: `make env` and `make up` in a fresh checkout, with passwords that are hard to quote."""

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, sync_playwright

from include.embedded.state import free_ports
from include.stack.env_file import ENV_FILE, PORTS
from tests.conftest import copy_of_project
from tests.stack.images import KEPT, prepare
from tests.stack.stack import Stack, engine

NAME = "ml-pipeline-test"
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


@pytest.fixture(scope="session")
def images() -> dict[str, str]:
    if reason := engine():
        pytest.skip(f"the containers were not tried: {reason}")
    KEPT.mkdir(parents=True, exist_ok=True)
    return prepare()


@pytest.fixture(scope="session")
def stack(images: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    project = copy_of_project(tmp_path_factory.mktemp("stack"))
    stack = Stack(project, images, dict(zip(PORTS, free_ports(len(PORTS)), strict=True)), NAME)
    stack.make("env")
    file = project / ENV_FILE
    text = file.read_text()
    for name in CHOSEN:
        text = re.sub(f"(?m)^({name}=)(.*)$", lambda found: f"{found[1]}'{quoted(found[2])}'", text)
    file.write_text(text)
    try:
        stack.make("up")
        yield stack
    finally:
        logs = stack.compose("logs", "--no-color", "--timestamps", check=False)
        (KEPT / "containers.log").write_text(logs.stdout + logs.stderr)
        stack.make("down", "VOLUMES=1", check=False)
        subprocess.run(["docker", "image", "rm", "--force", f"{NAME}:latest"], capture_output=True, check=False)


def quoted(secret: str) -> str:
    """A password of the user's own, as it stands between single quotes in an .env file."""
    return (secret[:12] + AWKWARD).replace("'", "\\'")


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """The browser of this machine: the package brings none."""
    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    assert program, "the tests need Chromium (Debian: apt install chromium)"
    arguments = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=arguments)
        yield browser
        browser.close()


def picture(name: str) -> Path:
    return KEPT / f"{name}.png"
