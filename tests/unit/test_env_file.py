"""config/.env of the stack in containers: written once, strong, and read as Compose reads it."""

import re
import stat

import pytest

from include.errors import ConfigError
from include.services.stack import env_file
from include.services.stack.env_file import ENV_FILE, PORTS, SECRETS, check, link, read, text, write


@pytest.fixture
def place(tmp_path):
    (tmp_path / "config").mkdir()
    return tmp_path


def change(place, name: str, value: str) -> None:
    file = place / ENV_FILE
    file.write_text(re.sub(f"(?m)^{name}=.*$", lambda _: f"{name}={value}", file.read_text()))


def test_it_is_written_for_its_owner_alone_and_is_complete(place):
    assert write(place, {})

    assert stat.S_IMODE((place / ENV_FILE).stat().st_mode) == 0o600
    check(read(place))


def test_no_two_secrets_are_alike_nor_those_of_two_files():
    first, second = (dict(re.findall(r"(?m)^(\w+)=(.*)$", text(PORTS))) for _ in range(2))

    values = [file[name] for file in (first, second) for name in SECRETS]
    assert len(set(values)) == 2 * len(SECRETS)


def test_one_that_is_there_is_never_overwritten(place):
    (place / ENV_FILE).write_text("AWS_ACCESS_KEY_ID=mine\n")

    assert not write(place, {})
    assert (place / ENV_FILE).read_text() == "AWS_ACCESS_KEY_ID=mine\n"
    with pytest.raises(ConfigError, match=r"AWS_SECRET_ACCESS_KEY \(MinIO and the pipeline\) is not set"):
        check(read(place))


def test_other_ports_are_in_the_addresses_too(place):
    write(place, {"MLFLOW_PORT": "5050"})

    values = read(place)
    assert (values["MLFLOW_PORT"], values["MLFLOW_TRACKING_URI"]) == ("5050", "http://127.0.0.1:5050")


@pytest.mark.parametrize("port", ["0", "65536", "eighty"])
def test_what_is_no_port_is_refused(place, port):
    with pytest.raises(ConfigError, match=f"AIRFLOW_PORT={port} is not a port"):
        write(place, {"AIRFLOW_PORT": port})
    assert not (place / ENV_FILE).exists()


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("MINIO_ROOT_PASSWORD", "minioadmin", r"MINIO_ROOT_PASSWORD \(MinIO\) is easily guessed"),
        ("POSTGRES_PASSWORD", "aaaaaaaaaaaaaaaa", r"POSTGRES_PASSWORD \(PostgreSQL\) is easily guessed"),
        ("AIRFLOW_ADMIN_PASSWORD", "short-one", r"AIRFLOW_ADMIN_PASSWORD \(Airflow's login\) is shorter than 12"),
        ("AIRFLOW_FERNET_KEY", "no-key-of-32-bytes", "AIRFLOW_FERNET_KEY .* is not a Fernet key"),
        ("REDIS_PASSWORD", "with/a@sign-and-more", "REDIS_PASSWORD .* because it is part of an address"),
        ("MLFLOW_ADMIN_USER", "", "MLFLOW_ADMIN_USER is not set"),
        ("STORE_PORT", "99999", "STORE_PORT=99999 is not a port"),
    ],
)
def test_what_is_weak_or_missing_is_named_without_its_value(place, name, value, said):
    write(place, {})
    change(place, name, value)

    with pytest.raises(ConfigError, match=said) as raised:
        check(read(place))
    if name in SECRETS:
        assert value not in str(raised.value)


def test_without_a_file_the_remedy_is_make_env(place):
    with pytest.raises(ConfigError, match=r"there is no config/\.env\. `make env` writes one"):
        read(place)


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("'p$a@b/c\"d#e f'", 'p$a@b/c"d#e f'),
        (r"'it\'s'", "it's"),
        (r'"say \"x\" and \\"', 'say "x" and \\'),
        ("plain # a comment", "plain"),
        ("with#inside", "with#inside"),
    ],
)
def test_quotes_are_read_as_compose_reads_them(place, line, value):
    (place / ENV_FILE).write_text(f"NAME={line}\n")

    assert read(place) == {"NAME": value}


def test_a_dollar_that_compose_would_replace_is_refused(place):
    (place / ENV_FILE).write_text("NAME=pa$word\n")

    with pytest.raises(ConfigError, match=r"NAME contains a \$.* single quotes"):
        read(place)


def test_a_line_that_is_none_is_named(place):
    (place / ENV_FILE).write_text("# a comment\n\nwhat is this\n")

    with pytest.raises(ConfigError, match="line 3 is not of the form NAME=value"):
        read(place)


def test_the_link_is_for_compose_and_replaces_nothing(place):
    link(place)
    link(place)
    assert (place / ".env").readlink().as_posix() == ENV_FILE

    (place / ".env").unlink()
    (place / ".env").write_text("MINE=1\n")
    with pytest.raises(ConfigError, match=r"\.env exists and is not a link"):
        link(place)
    assert (place / ".env").read_text() == "MINE=1\n"


def test_every_variable_that_the_compose_file_requires_is_written():
    required = set(re.findall(r"\$\{(\w+):\?", (env_file.PROJECT_DIR / "docker-compose.yml").read_text()))

    written = set(re.findall(r"(?m)^(\w+)=", text(PORTS)))
    assert required <= written
    assert required >= set(SECRETS)
