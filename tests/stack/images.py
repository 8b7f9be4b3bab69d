"""The images that docker-compose.yml and the Dockerfile ask for, where no registry can be reached: made from Debian.

    python -m tests.stack.images

PostgreSQL and Redis are Debian's packages, with the variables of the official images that the compose file uses; the
Python base is Debian with a CPython of this machine; MinIO is built from the last source that its authors released.
Where a registry answers, its images are used and nothing is made.
"""

import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

DEBIAN = "ml-pipeline-test/debian:bookworm"
MINIO_SOURCE = "github.com/minio/minio@v0.0.0-20260212201848-7aac2a2c5b7c"
ROOT = Path(__file__).resolve().parents[2]
KEPT = ROOT / "build" / "stack"
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")

PYTHON, POSTGRES, REDIS = "python:3.12-slim-bookworm", "postgres:15-bookworm", "redis:7-bookworm"
MINIO = "ml-pipeline-test/minio:latest"  # not Silo's name: a digest cannot be given to an image that was made here

RECIPES = {
    PYTHON: f"""\
FROM {DEBIAN}
RUN apt-get update && apt-get install --yes --no-install-recommends libbz2-1.0 libexpat1 libffi8 liblzma5 libncursesw6 \
    libreadline8 libsqlite3-0 libssl3 libuuid1 zlib1g && rm -rf /var/lib/apt/lists/*
COPY python /usr/local
RUN ldconfig && python3 -c "import bz2, ctypes, lzma, readline, sqlite3, ssl, venv"
ENV PIP_CERT={CERTIFICATES} SSL_CERT_FILE={CERTIFICATES}
CMD ["python3"]
""",
    POSTGRES: f"""\
FROM {DEBIAN}
RUN apt-get update && apt-get install --yes --no-install-recommends postgresql-15 && rm -rf /var/lib/apt/lists/* \
    && mkdir -p /var/lib/postgresql/data && chown postgres:postgres /var/lib/postgresql/data
COPY entrypoint.sh /
ENV PGDATA=/var/lib/postgresql/data PATH=/usr/lib/postgresql/15/bin:/usr/sbin:/usr/bin:/sbin:/bin
STOPSIGNAL SIGINT
ENTRYPOINT ["bash", "/entrypoint.sh"]
""",
    REDIS: f"""\
FROM {DEBIAN}
RUN apt-get update && apt-get install --yes --no-install-recommends redis-server && rm -rf /var/lib/apt/lists/*
USER redis
""",
    MINIO: f"""\
FROM {DEBIAN}
RUN apt-get update && apt-get install --yes --no-install-recommends curl && rm -rf /var/lib/apt/lists/*
COPY minio /usr/bin/minio
ENTRYPOINT ["minio"]
""",
}

ENTRYPOINT = """\
set -e
if [ "$(id -u)" = 0 ]; then
  chown postgres "$PGDATA"
  exec setpriv --reuid=postgres --regid=postgres --clear-groups bash "$0"
fi
if [ ! -s "$PGDATA/PG_VERSION" ]; then
  initdb --username=postgres --pwfile=<(printf '%s\\n' "$POSTGRES_PASSWORD") --auth-local=trust \\
    --auth-host=scram-sha-256 --encoding=UTF8 --locale=C.UTF-8
  echo "host all all all scram-sha-256" >>"$PGDATA/pg_hba.conf"
fi
exec postgres -c listen_addresses='*'
"""


def prepare() -> dict[str, str]:
    """Have all images.

    :return: variables for Compose where it must ask for another name.
    """
    if not present(DEBIAN) and all(present(name) or pulled(name) for name in (PYTHON, POSTGRES, REDIS)):
        return {}
    missing = [name for name in RECIPES if not present(name)]
    # Go takes longer than all the rest together: meanwhile Debian is unpacked.
    with ThreadPoolExecutor(1) as pool:
        server = pool.submit(minio) if MINIO in missing else None
        for name in missing:
            if name != MINIO:
                build(name)
    if server:
        server.result()  # raises what kept Go from building it
        build(MINIO)
    return {"MINIO_IMAGE": MINIO}


def warm_up() -> None:
    """Build the project's image once: `make up` then finds all its layers but the last few in the builder's cache."""
    name = "ml-pipeline-test/project:latest"
    service = {"build": {"context": str(ROOT), "args": {"PYTHON_IMAGE": PYTHON}}, "image": name}
    docker("compose", "--file", "-", "build", "--quiet", typed=json.dumps({"services": {"project": service}}))
    docker("image", "rm", name)


def present(name: str) -> bool:
    return not docker("image", "inspect", name, check=False).returncode


def pulled(name: str) -> bool:
    return not docker("pull", "--quiet", name, check=False).returncode


def build(name: str) -> None:
    print(f"making {name}", file=sys.stderr, flush=True)
    if not present(DEBIAN):
        debian()
    with tempfile.TemporaryDirectory() as folder:
        context = Path(folder)
        (context / "Dockerfile").write_text(RECIPES[name])
        if name == PYTHON:
            copy_python(context / "python")
        if name == POSTGRES:
            (context / "entrypoint.sh").write_text(ENTRYPOINT)
        if name == MINIO:
            shutil.copy2(minio(), context / "minio")
        docker("build", "--quiet", "--tag", name, str(context), DOCKER_BUILDKIT="0")


def debian() -> None:
    """Debian as debootstrap makes it, with this machine's certificates."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "root"
        run("debootstrap", "--variant=minbase", "--include=ca-certificates", "bookworm", str(root))
        for left in ("var/cache/apt/archives", "var/lib/apt/lists", "usr/share/doc", "usr/share/locale"):
            shutil.rmtree(root / left)
        shutil.copy2(CERTIFICATES, root / CERTIFICATES.relative_to("/"))
        archive = Path(folder) / "root.tar"
        with tarfile.open(archive, "w") as tar:
            tar.add(root, arcname=".")
        docker("import", str(archive), DEBIAN)


def copy_python(target: Path) -> None:
    """A CPython of the Dockerfile's version, without tests and installed packages."""
    version = PYTHON.partition(":")[2].partition("-")[0]
    ask = "import sys; print(sys.base_prefix)"
    candidates = [f"python{version}", *map(str, Path.home().glob(f".pyenv/versions/{version}.*/bin/python3"))]
    for candidate in candidates:
        if shutil.which(candidate):
            found = subprocess.run([candidate, "-c", ask], capture_output=True, text=True, check=False)
            prefix = Path(found.stdout.strip() or "/usr")
            if not found.returncode and prefix != Path("/usr"):
                ignored = shutil.ignore_patterns("test", "tests", "__pycache__", "*.a", "idlelib", "tkinter", "share")
                shutil.copytree(prefix, target, symlinks=True, ignore=ignored)
                packages = target / "lib" / f"python{version}" / "site-packages"
                for package in packages.iterdir():
                    if not package.name.startswith("pip"):
                        shutil.rmtree(package) if package.is_dir() else package.unlink()
                return
    raise SystemExit(f"error: no CPython {version} in a folder of its own was found on this machine (pyenv makes one)")


def minio() -> Path:
    """The server, built by Go, and kept."""
    program = KEPT / "minio"
    if not program.exists():
        made = KEPT / "go" / "minio"  # moved when it is whole: an interrupt may leave half of one
        run("go", "install", "-trimpath", "-ldflags=-s -w", MINIO_SOURCE, CGO_ENABLED="0", GOBIN=str(made.parent))
        made.replace(program)
    return program


Done = subprocess.CompletedProcess[str]


def docker(*arguments: str, check: bool = True, typed: str = "", **environment: str) -> Done:
    return run("docker", *arguments, check=check, typed=typed, **environment)


def run(*command: str, check: bool = True, typed: str = "", **environment: str) -> Done:
    done = subprocess.run(
        command, input=typed, capture_output=True, text=True, env={**os.environ, **environment}, check=False
    )
    if check and done.returncode:
        raise SystemExit(f"error: {' '.join(command[:3])} failed:\n{done.stdout[-2000:]}{done.stderr[-3000:]}")
    return done


if __name__ == "__main__":
    prepare()
    warm_up()
