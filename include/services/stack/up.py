"""``make up``: start the stack, and say what to do if it does not come up.

    python3 -m include.services.stack.up

COMPOSE_PROFILES=celery has the tasks done by several workers. All variables of docker-compose.yml may be set.
"""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from typing import Any, NoReturn

from include.errors import ConfigError, PipelineError, ServiceError
from include.services.stack import env_file
from include.services.stack.env_file import ENV_FILE, PORTS, PROJECT_DIR

MEMORY = 4 * 10**9  # bytes that the engine must have: 2 GB at rest, and the tasks
LOOKS = 20  # at the containers, half a second apart, to find the one that the others wait for
TIMEOUT = 300  # seconds until all must be healthy
SERVICE_OF_PORT = {
    "AIRFLOW_PORT": "airflow-api",
    "MLFLOW_PORT": "mlflow",
    "STORE_PORT": "minio",
    "STORE_CONSOLE_PORT": "minio",
}
CONTROL = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")  # some versions of Compose put them before each line of a log
# What the logs of a service say, and what to do then.
REMEDIES = (
    (
        r"database files are incompatible with server|initialized by PostgreSQL version",
        "the volume was written by another version of PostgreSQL. Set POSTGRES_IMAGE to the one that the log names.",
    ),
    (
        r"password authentication failed",
        f"the volume was created with a password other than the one in {ENV_FILE}. Put the old one back.",
    ),
    (
        r"MINIO_ROOT_\w+|Invalid credentials",
        f"MINIO_ROOT_USER and MINIO_ROOT_PASSWORD in {ENV_FILE} do not match the volume.",
    ),
    (
        r"Unknown xl (meta|header)|unexpected backend format|expected .*format",
        "the volume was written by another version of MinIO.",
    ),
    (r"RequestTimeTooSkewed", "this machine's clock and the store's differ. Set both by NTP."),
    (r"Can't locate revision", "the database was migrated by a newer Airflow or MLflow than the one in the image."),
    (r"[Nn]o space left on device", "the disk is full. `docker system df` shows what can be removed."),
    (r"\bKilled\b|MemoryError|out of memory", "it ran out of memory. Raise its limit in docker-compose.yml."),
)


class Stack:
    """Compose in this project, with the values of config/.env."""

    def __init__(self, values: Mapping[str, str], environment: Mapping[str, str]) -> None:
        self.values, self.environment = {**values, **environment}, {**environment, "GIT_SHA": _git_sha()}
        if "celery" in environment.get("COMPOSE_PROFILES", ""):
            self.environment.setdefault("AIRFLOW_EXECUTOR", "CeleryExecutor")

    def compose(self, *arguments: str, quiet: bool = True) -> "subprocess.CompletedProcess[str]":
        """Run Compose; its output is kept if quiet, else it goes to the terminal."""
        output = subprocess.PIPE if quiet else None
        return subprocess.run(
            ["docker", "compose", *arguments],
            cwd=PROJECT_DIR, env=self.environment, stdout=output, stderr=output, text=True,
        )  # fmt: skip

    def services(self) -> list[dict[str, Any]]:
        """All containers, as ``compose ps`` describes them."""
        lines = self.compose("ps", "--all", "--format", "json").stdout.splitlines()
        return [json.loads(line) for line in lines if line.startswith("{")]

    def check(self) -> None:
        """See that an engine with enough memory answers, and that the ports are free.

        :raises ConfigError, ServiceError: what is missing, and what to do.
        """
        if not shutil.which("docker"):
            raise ConfigError("`docker` was not found on this machine. Install Docker Engine with Compose v2.")
        info = subprocess.run(["docker", "info", "--format", "{{.MemTotal}}"], capture_output=True, text=True)
        if info.returncode or not info.stdout.strip().isdigit():
            raise ServiceError(
                f"no container engine answers: {_last(info.stderr)} Start it (`systemctl start docker`)."
            )
        if int(info.stdout) < MEMORY:
            raise ConfigError(
                f"the container engine has {int(info.stdout) / 1e9:.1f} GB of memory; the stack needs "
                f"{MEMORY / 1e9:.0f} GB. Give it more (Docker Desktop: Settings, Resources)."
            )
        version = self.compose("version", "--short")
        if version.returncode or version.stdout.lstrip("v").startswith("1."):
            raise ConfigError("`docker compose` is missing or older than v2. Install the Compose plugin.")
        config = self.compose("config", "--quiet")
        if config.returncode:
            raise ConfigError(f"docker-compose.yml with {ENV_FILE}: {_last(config.stderr)}")
        ours = {service["Service"] for service in self.services() if service["State"] == "running"}
        for name, service in SERVICE_OF_PORT.items():
            port = int(self.values.get(name) or PORTS[name])
            if service not in ours and _taken(port):
                raise ConfigError(
                    f"{service}: port {port} is in use by another program. Free it, or set {name} in {ENV_FILE}."
                )

    def start(self) -> None:
        """Build the image, start all, and wait until all are healthy.

        :raises ServiceError: which service is not, what it logged last, and what to do.
        """
        if "celery" not in self.environment.get("COMPOSE_PROFILES", ""):
            self.compose("--profile", "celery", "rm", "--stop", "--force", "redis", "airflow-worker")
        if self.compose("build", "airflow-init", quiet=False).returncode:
            raise ServiceError("the image was not built; the lines above say why.")
        limit = ("--wait", "--wait-timeout", str(TIMEOUT))
        done = self.compose("up", "--no-build", "--detach", "--remove-orphans", *limit, quiet=False)
        # Compose has its own opinion of one-shot services that ended well; the containers say how it is.
        bad = self._not_well()
        if not bad and not done.returncode:
            return
        if not bad:
            missing = "; ".join(self._missing_images())
            raise ServiceError(missing or "Compose did not start the stack; the lines above say why.")
        causes = [service for service in bad if not _waits(service)] or bad
        raise ServiceError("\n".join(self._diagnosis(service["Service"], service) for service in causes))

    def _not_well(self) -> list[dict[str, Any]]:
        """The containers that are not healthy.

        A service that is restarted again and again looks well for a moment each time. So where some wait and none is at
        fault, they are looked at again.
        """
        for _ in range(LOOKS):
            bad = [service for service in self.services() if not _well(service)]
            if not bad or not all(map(_waits, bad)):
                break
            time.sleep(0.5)
        return bad

    def _missing_images(self) -> list[str]:
        services = json.loads(self.compose("config", "--format", "json").stdout)["services"]
        return [
            f"{name}: the image {service['image']} is not on this machine and could not be pulled. Is its name right "
            f"({name.upper()}_IMAGE in the environment or {ENV_FILE}), and does its registry answer?"
            for name, service in services.items()
            if subprocess.run(["docker", "image", "inspect", service["image"]], capture_output=True).returncode
        ]

    def _diagnosis(self, name: str, service: Mapping[str, Any]) -> str:
        log = self.compose("logs", "--no-color", "--no-log-prefix", "--tail", "40", name)
        lines = CONTROL.sub("", log.stdout + log.stderr).strip().splitlines()
        killed = "Killed" if service.get("ExitCode") == 137 else ""
        # Our own init services say themselves what to do.
        advice = [line.removeprefix("error: ") for line in lines[-1:] if line.startswith("error: ")]
        advice += [remedy for pattern, remedy in REMEDIES if re.search(pattern, "\n".join([*lines, killed]))]
        shown = "\n".join(f"    {line}" for line in lines[-8:])
        return (
            f"{name} is {service['Health'] or service['State']}: "
            f"{advice[0] if advice else f'`docker compose logs {name}` shows more than these last lines.'}\n{shown}"
        )

    def addresses(self) -> str:
        """The addresses of everything, and the names of the passwords."""
        port = {name: self.values.get(name) or default for name, default in PORTS.items()}
        user = self.values
        return (
            f"Airflow  http://127.0.0.1:{port['AIRFLOW_PORT']}  {user['AIRFLOW_ADMIN_USER']}, AIRFLOW_ADMIN_PASSWORD\n"
            f"MLflow   http://127.0.0.1:{port['MLFLOW_PORT']}  {user['MLFLOW_ADMIN_USER']}, MLFLOW_ADMIN_PASSWORD\n"
            f"MinIO    http://127.0.0.1:{port['STORE_CONSOLE_PORT']}  {user['MINIO_ROOT_USER']}, MINIO_ROOT_PASSWORD\n"
            f"The passwords are in {ENV_FILE}. `make logs` follows the logs, `make down` stops the stack."
        )


def _well(service: Mapping[str, Any]) -> bool:
    if service["State"] == "exited":
        return bool(service["ExitCode"] == 0)
    return service["State"] == "running" and service["Health"] in ("healthy", "")


def _waits(service: Mapping[str, Any]) -> bool:
    return bool(service["State"] == "created")


def _taken(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return True
    return False


def _git_sha() -> str:
    found = subprocess.run(["git", "-C", str(PROJECT_DIR), "rev-parse", "HEAD"], capture_output=True, text=True)
    changed = subprocess.run(
        ["git", "-C", str(PROJECT_DIR), "status", "--porcelain"], capture_output=True, text=True
    ).stdout
    return "unknown" if found.returncode else found.stdout.strip() + ("-dirty" if changed.strip() else "")


def _last(text: str) -> str:
    return (text.strip().splitlines() or ["it printed nothing."])[-1]


def main() -> NoReturn:
    """Start the stack; exit code 1 if it does not come up."""
    try:
        values = env_file.read(PROJECT_DIR)
        env_file.check(values)
        env_file.link(PROJECT_DIR)
        stack = Stack(values, os.environ)
        stack.check()
        stack.start()
        print(stack.addresses())
    except PipelineError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)
    sys.exit(0)


if __name__ == "__main__":
    main()
