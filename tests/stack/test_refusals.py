"""What `make up` says where it cannot start the stack: which service, and what to do."""

import re
import socket

import pytest

from include.services.stack.env_file import ENV_FILE
from tests.stack.stack import Stack, remove
from tests.support.copies import copy_of_project

NAME = "ml-pipeline-refused"


@pytest.fixture(scope="module")
def checkout(images, tmp_path_factory):
    yield Stack(copy_of_project(tmp_path_factory.mktemp("refused") / "project"), images, NAME)
    remove(NAME)


@pytest.fixture
def stack(checkout):
    """With a good config/.env."""
    (checkout.project / ENV_FILE).unlink(missing_ok=True)
    checkout.make("env")
    yield checkout
    checkout.compose("down", "--volumes")


def refused(stack: Stack, **variables: str) -> str:
    """What `make up` prints when it fails."""
    done = stack.make("up", check=False, **variables)
    assert done.returncode != 0
    assert "Traceback" not in done.stderr
    return done.stderr


def running(stack: Stack) -> list[str]:
    return stack.compose("ps", "--services", "--status", "running").stdout.split()


def test_without_config_env_one_line_names_make_env(checkout):
    (checkout.project / ENV_FILE).unlink(missing_ok=True)

    said = refused(checkout)
    plain = checkout.compose("up", "--detach", check=False)

    assert "error: there is no config/.env. `make env` writes one with new secrets." in said
    assert plain.returncode != 0
    assert re.search("run make env$", plain.stderr.strip().splitlines()[-1])


def test_a_weak_password_is_refused_before_anything_is_started(stack):
    file = stack.project / ENV_FILE
    file.write_text(re.sub(r"MINIO_ROOT_PASSWORD=.*", "MINIO_ROOT_PASSWORD=minioadmin", file.read_text()))

    assert "MINIO_ROOT_PASSWORD (MinIO) is easily guessed" in refused(stack)
    assert stack.compose("ps", "--all", "--quiet").stdout == ""


def test_a_port_that_is_taken_is_named_with_its_service_and_variable(stack):
    port = int(stack.values["MLFLOW_PORT"])
    with socket.socket() as other:
        other.bind(("127.0.0.1", port))
        other.listen()
        said = refused(stack)

    assert f"mlflow: port {port} is in use by another program. Free it, or set MLFLOW_PORT" in said
    assert stack.compose("ps", "--all", "--quiet").stdout == ""


def test_an_image_that_cannot_be_found_is_named_with_its_service_and_variable(stack):
    said = refused(stack, POSTGRES_IMAGE="postgres:no-such-tag")

    assert "error: postgres: the image postgres:no-such-tag is not on this machine and could not be pulled." in said
    assert "POSTGRES_IMAGE" in said
    assert running(stack) == []


def test_a_volume_of_another_postgresql_is_named_with_the_remedy(stack):
    stack.compose("up", "--detach", "--wait", "postgres")
    data = "/var/lib/postgresql/data/PG_VERSION"
    stack.compose("exec", "-T", "postgres", "sh", "-c", f"echo 14 >{data}")
    stack.compose("stop", "postgres")

    said = refused(stack)
    assert re.search(r"error: postgres is \w+: the volume was written by another version of PostgreSQL", said)
    assert "POSTGRES_IMAGE" in said
    assert [name for name in running(stack) if name.startswith(("airflow", "mlflow"))] == []  # they need the database


def test_a_password_that_the_volume_does_not_know_is_named(stack):
    stack.compose("up", "--detach", "--wait", "postgres")
    file = stack.project / ENV_FILE
    file.write_text(re.sub(r"POSTGRES_PASSWORD=.*", "POSTGRES_PASSWORD=another-password-now", file.read_text()))

    said = refused(stack)
    assert (
        "postgres-init is exited: postgres: the volume was created with a POSTGRES_PASSWORD other than the one in"
        in said
    )


def test_no_engine_is_named(stack):
    said = refused(stack, DOCKER_HOST="unix:///nowhere/docker.sock")

    assert "error: no container engine answers" in said


def test_too_little_memory_is_named(stack, tmp_path):
    # The engine of this machine has what it has: another program of that name answers in its place.
    (tmp_path / "docker").write_text("#!/bin/sh\necho 2000000000\n")
    (tmp_path / "docker").chmod(0o755)

    said = refused(stack, PATH=f"{tmp_path}:{stack.env['PATH']}")
    assert "the container engine has 2.0 GB of memory; the stack needs 4 GB" in said
