"""config/.env of the stack: written once with strong secrets, and checked before each start.

python3 -m include.services.stack.env_file
"""

import base64
import binascii
import os
import re
import secrets
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from include.errors import ConfigError

PROJECT_DIR = Path(__file__).resolve().parents[3]
ENV_FILE = "config/.env"
LINK = ".env"  # what Compose reads by itself
PORTS = {"AIRFLOW_PORT": 8080, "MLFLOW_PORT": 5000, "STORE_PORT": 9000, "STORE_CONSOLE_PORT": 9001}
SHORTEST = 12  # characters of a password: MLflow's own rule; MinIO wants 8
WEAK = ("admin", "airflow", "changeme", "minio", "minioadmin", "mlflow", "password", "postgres", "secret")
_LINE = re.compile(r"\s*(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)\s*=\s*(.*)")


def _password() -> str:
    return secrets.token_urlsafe(24)


def _fernet_key() -> str:
    return base64.urlsafe_b64encode(secrets.token_bytes(32)).decode()


# Which part of the stack uses a secret, and how to make it.
SECRETS: dict[str, tuple[str, Callable[[], str]]] = {
    "AWS_SECRET_ACCESS_KEY": ("MinIO and the pipeline", _password),
    "MLFLOW_TRACKING_PASSWORD": ("MLflow and the pipeline", _password),
    "AIRFLOW_ADMIN_PASSWORD": ("Airflow's login", _password),
    "MLFLOW_ADMIN_PASSWORD": ("MLflow's login", _password),
    "MINIO_ROOT_PASSWORD": ("MinIO", _password),
    "POSTGRES_PASSWORD": ("PostgreSQL", _password),
    "AIRFLOW_DB_PASSWORD": ("PostgreSQL and Airflow", _password),
    "MLFLOW_DB_PASSWORD": ("PostgreSQL and MLflow", _password),
    "MLFLOW_STORE_SECRET_KEY": ("MinIO and MLflow", _password),
    "MLFLOW_SECRET_KEY": ("MLflow", _password),
    "AIRFLOW_FERNET_KEY": ("Airflow", _fernet_key),
    "AIRFLOW_JWT_SECRET": ("Airflow", lambda: secrets.token_hex(64)),
    "AIRFLOW_API_SECRET_KEY": ("Airflow", lambda: secrets.token_hex(32)),
    "REDIS_PASSWORD": ("Redis", lambda: secrets.token_hex(24)),
}
USERS = {
    "AWS_ACCESS_KEY_ID": "ml-pipeline",
    "MLFLOW_TRACKING_USERNAME": "ml-pipeline",
    "AIRFLOW_ADMIN_USER": "admin",
    "MLFLOW_ADMIN_USER": "admin",
    "MINIO_ROOT_USER": "root-of-store",
    "MLFLOW_STORE_ACCESS_KEY": "mlflow",
}


def text(ports: Mapping[str, int]) -> str:
    """A new config/.env with secrets of its own.

    :param ports: on the host, by the names of `PORTS`.
    """
    made = {name: make() for name, (_, make) in SECRETS.items()} | USERS
    store, mlflow = f"http://127.0.0.1:{ports['STORE_PORT']}", f"http://127.0.0.1:{ports['MLFLOW_PORT']}"
    sections = {
        "Written by `make env`. Secrets: do not commit. Mode 600. A value with a $ in it must be in single quotes.": [],
        "The pipeline's own access, in the containers and for `python -m include` and DVC on this machine": [
            f"AWS_ENDPOINT_URL={store}",
            *_lines(made, "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"),
            "AWS_DEFAULT_REGION=us-east-1",
            f"STORE_CONSOLE_URL=http://127.0.0.1:{ports['STORE_CONSOLE_PORT']}",
            f"MLFLOW_TRACKING_URI={mlflow}",
            *_lines(made, "MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"),
        ],
        "Logins for people: Airflow, MLflow, and the console of the store (its root user)": _lines(
            made, "AIRFLOW_ADMIN_USER", "AIRFLOW_ADMIN_PASSWORD", "MLFLOW_ADMIN_USER", "MLFLOW_ADMIN_PASSWORD",
            "MINIO_ROOT_USER", "MINIO_ROOT_PASSWORD",
        ),
        "Between the services": _lines(
            made, "POSTGRES_PASSWORD", "AIRFLOW_DB_PASSWORD", "MLFLOW_DB_PASSWORD", "MLFLOW_STORE_ACCESS_KEY",
            "MLFLOW_STORE_SECRET_KEY", "MLFLOW_SECRET_KEY", "AIRFLOW_FERNET_KEY", "AIRFLOW_JWT_SECRET",
            "AIRFLOW_API_SECRET_KEY", "REDIS_PASSWORD",
        ),
        "Ports on 127.0.0.1": [f"{name}={ports[name]}" for name in PORTS],
    }  # fmt: skip
    return "\n\n".join("\n".join([f"# {title}", *lines]) for title, lines in sections.items()) + "\n"


def write(project_dir: Path, environment: Mapping[str, str]) -> bool:
    """Write config/.env. One that is there stays as it is.

    :param environment: may name other `PORTS`.
    :return: whether it was written now.
    :raises ConfigError: a port is not a number, or the file cannot be written.
    """
    ports = {name: _port(name, environment.get(name) or str(default)) for name, default in PORTS.items()}
    try:
        descriptor = os.open(project_dir / ENV_FILE, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return False
    except OSError as error:
        raise ConfigError(f"{ENV_FILE} cannot be written: {error.strerror}.") from None
    with open(descriptor, "w", encoding="utf-8") as stream:
        stream.write(text(ports))
    return True


def link(project_dir: Path) -> None:
    """Have a link to config/.env where Compose looks, so that plain ``docker compose`` commands work.

    :raises ConfigError: something else is in its place.
    """
    place = project_dir / LINK
    if place.is_symlink() and place.readlink() == Path(ENV_FILE):
        return
    if place.is_symlink() or place.exists():
        raise ConfigError(f"{LINK} exists and is not a link to {ENV_FILE}. Move its values there, and remove it.")
    place.symlink_to(ENV_FILE)


def read(project_dir: Path) -> dict[str, str]:
    """The values of config/.env, read as Compose reads them, but that a $ outside single quotes is refused.

    :raises ConfigError: it does not exist, or a line is not NAME=value.
    """
    try:
        lines = (project_dir / ENV_FILE).read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        raise ConfigError(f"there is no {ENV_FILE}. `make env` writes one with new secrets.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{ENV_FILE} cannot be read: {error}.") from None
    values: dict[str, str] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        match = _LINE.fullmatch(line)
        if not match:
            raise ConfigError(f"{ENV_FILE}, line {number} is not of the form NAME=value.")
        values[match[1]] = _value(match[1], match[2].strip())
    return values


def check(values: Mapping[str, str]) -> None:
    """See that all that the stack needs is there, and strong.

    :raises ConfigError: names each variable that is not, and its service; no value.
    """
    problems = [f"{name} ({part}) {fault}" for name, (part, _) in SECRETS.items() if (fault := _fault(name, values))]
    problems += [f"{name} is not set" for name in USERS if not values.get(name)]
    for name in PORTS:
        _port(name, values.get(name) or str(PORTS[name]))
    if problems:
        raise ConfigError(
            f"{ENV_FILE}: {'; '.join(problems)}. `make env` writes a new file if you move this one away; passwords "
            "that existing volumes use must stay the same."
        )


def _fault(name: str, values: Mapping[str, str]) -> str | None:
    value = values.get(name, "")
    if not value:
        return "is not set"
    if value.lower() in WEAK or len(set(value)) < 5:
        return "is easily guessed"
    if len(value) < SHORTEST:
        return f"is shorter than {SHORTEST} characters"
    if name == "REDIS_PASSWORD" and not re.fullmatch(r"[A-Za-z0-9._~-]+", value):
        return "may contain only letters, digits and . _ ~ -, because it is part of an address"
    if name == "AIRFLOW_FERNET_KEY" and not _is_fernet_key(value):
        return "is not a Fernet key (32 bytes in URL-safe base64)"
    return None


def _is_fernet_key(value: str) -> bool:
    try:
        return len(base64.urlsafe_b64decode(value)) == 32
    except (binascii.Error, ValueError):
        return False


def _value(name: str, value: str) -> str:
    if len(value) >= 2 and value[0] == value[-1] == "'":
        return value[1:-1].replace("\\'", "'")
    if "$" in value:
        raise ConfigError(f"{ENV_FILE}: {name} contains a $, which Compose expands. Put the value in single quotes.")
    if len(value) >= 2 and value[0] == value[-1] == '"':
        return value[1:-1].replace('\\"', '"').replace("\\\\", "\\")
    return re.split(r"\s+#", value, maxsplit=1)[0]


def _port(name: str, value: str) -> int:
    if not value.isdigit() or not 0 < int(value) < 65536:
        raise ConfigError(f"{name}={value} is not a port.")
    return int(value)


def _lines(values: Mapping[str, str], *names: str) -> Iterable[str]:
    return [f"{name}={values[name]}" for name in names]


def main() -> int:
    """Write config/.env if there is none; exit code 1 if the existing one cannot be used."""
    try:
        made = write(PROJECT_DIR, os.environ)
        link(PROJECT_DIR)
        check(read(PROJECT_DIR))
    except ConfigError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"{ENV_FILE} is {'written' if made else 'already complete'}; it contains the passwords.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
