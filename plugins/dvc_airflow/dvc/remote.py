"""The DVC remote: how long we wait for it, and what its errors mean to people."""

import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote
from weakref import WeakKeyDictionary

from dvc_airflow.dvc.packages import missing_package
from dvc_airflow.errors import REFUSED, MissingPackageError, RemoteError, RemoteRefusedError, TaskError
from dvc_airflow.history import FOLDER, file_name

if TYPE_CHECKING:
    from dvc.repo import Repo
    from dvc_data.hashfile.db import HashFileDB

WATCH_SECONDS = 5
SILENT_PROBES = 2  # after so many without an answer, the remote counts as silent
ATTEMPTS = "AWS_MAX_ATTEMPTS"
CLIENTS = ("botocore", "aiobotocore", "aiohttp", "obstore")  # whose errors mean that a remote failed
NO_CREDENTIALS = re.compile(
    r"NoCredentialsError|PartialCredentialsError|Unable to locate credentials|DefaultCredentialsError"
    r"|CredentialUnavailableError"
)
REFUSALS = ("PermissionDeniedError", "UnauthenticatedError")  # obstore's
UNREACHABLE = re.compile(
    r"could ?n.t connect|connect timeout|read timeout|timed out|cannot connect|EndpointConnectionError"
    r"|connection (refused|reset|was closed|aborted|lost)|temporary failure in name resolution|server disconnected",
    re.IGNORECASE,
)


@contextmanager
def few_attempts() -> Iterator[None]:
    """Have S3 clients that are made in the block try once: botocore's five attempts come on top of s3fs's own."""
    before = os.environ.get(ATTEMPTS)
    os.environ[ATTEMPTS] = "1"
    try:
        yield
    finally:
        if before is None:
            os.environ.pop(ATTEMPTS, None)
        else:
            os.environ[ATTEMPTS] = before


@contextmanager
def translated_errors(remote: "Repo | str") -> Iterator[None]:
    """Turn what the remote's client raises into `RemoteError` with the address.

    :param remote: the opened repo whose default remote it is, or the address.
    :raises RemoteRefusedError: the credentials are refused, or there are none.
    :raises RemoteError: it does not answer, or fails.
    :raises MissingPackageError: there is no client for it here.
    """
    try:
        yield
    except (RemoteError, MissingPackageError, FileNotFoundError):
        raise
    except Exception as error:
        if translated := _translated(error, remote if isinstance(remote, str) else address(remote)):
            raise translated from None
        raise


def has_remote(repo: "Repo") -> bool:
    """Whether there is any default remote."""
    return bool(repo.config["core"].get("remote"))


def address(repo: "Repo") -> str:
    """The default remote's URL, with the endpoint where it has one of its own; for people."""
    return address_of(repo.config["remote"].get(repo.config["core"].get("remote"), {}))


def address_of(options: Mapping[str, Any]) -> str:
    """The URL of the remote with these options of DVC, with its endpoint; for people."""
    endpoint = options.get("endpointurl") or os.environ.get("AWS_ENDPOINT_URL")
    url = str(options.get("url"))
    return f"{url} at {endpoint}" if endpoint and url.startswith("s3") else url


def remote_odb(repo: "Repo", name: str | None = None, algorithm: str = "md5") -> "HashFileDB":
    """DVC's view of a remote, with bounded waiting.

    :param name: of the remote; None: the default one.
    :param algorithm: ``md5``, or ``md5-dos2unix`` for what DVC 2 wrote and for the run-cache.
    :raises RemoteError: it cannot be opened.
    """
    opened = _opened.setdefault(repo, {})
    if name not in opened:
        with translated_errors(repo):
            remote = repo.cloud.get_remote(name, "fetch")  # it connects each time: up to half a second
            inner: Any = getattr(remote.fs, "fs", None)
        if hasattr(inner, "retries"):  # s3fs would repeat each request five times, whatever the time-outs
            inner.retries = 2
        opened[name] = remote, inner
    remote, inner = opened[name]
    if hasattr(inner, "invalidate_cache"):  # others write there too
        inner.invalidate_cache()
    odb: HashFileDB = remote.legacy_odb if algorithm == "md5-dos2unix" else remote.odb
    return odb


def probe(repo: "Repo", name: str | None = None) -> None:
    """Check that a remote answers.

    :param name: of the remote; None: the default one.
    :raises RemoteError: it does not answer.
    """
    with translated_errors(repo):
        odb = remote_odb(repo, name)
        odb.fs.exists(odb.fs.join(odb.path, "probe"))


@contextmanager
def watched(repo: "Repo", end: Callable[[], object], name: str | None = None) -> Iterator[None]:
    """Ask a remote now and then, while the block works with it, and end that work when it is silent.

    :param end: makes the block raise; called from another thread.
    :param name: of the remote; None: the default one.
    :raises RemoteError: the remote fell silent, and the block failed.
    """
    stop = Event()
    failures: list[RemoteError] = []

    def watch() -> None:
        while len(failures) < SILENT_PROBES and not stop.wait(WATCH_SECONDS):
            try:
                probe(repo, name)
                failures.clear()
            except RemoteError as error:
                failures.append(error)
        if len(failures) == SILENT_PROBES and not stop.is_set():
            end()

    Thread(target=watch, daemon=True).start()
    try:
        yield
    except Exception:
        if len(failures) == SILENT_PROBES:
            raise failures[-1] from None
        raise
    finally:
        stop.set()


class RemoteFolder:
    """Small files in the remote, for tasks that share no cache; a `dvc_airflow.history.Folder`."""

    def __init__(self, repo: "Repo") -> None:
        self._repo = repo

    def read(self, *names: str) -> bytes:
        """See `Folder`."""
        with translated_errors(self._repo):
            remote = remote_odb(self._repo, algorithm="md5-dos2unix")
            return bytes(remote.fs.cat_file(remote.fs.join(remote.path, FOLDER, *map(file_name, names))))

    def names(self, *names: str) -> list[str]:
        """The names of the files in a folder; none if the folder does not exist."""
        with translated_errors(self._repo):
            remote = remote_odb(self._repo, algorithm="md5-dos2unix")
            try:
                found = remote.fs.ls(remote.fs.join(remote.path, FOLDER, *map(file_name, names)), detail=False)
            except FileNotFoundError:
                return []
            return [unquote(remote.fs.name(path)) for path in found]

    def write(self, content: bytes, *names: str) -> None:
        """See `Folder`."""
        with translated_errors(self._repo):
            remote = remote_odb(self._repo, algorithm="md5-dos2unix")
            path = remote.fs.join(remote.path, FOLDER, *map(file_name, names))
            try:
                remote.fs.makedirs(remote.fs.parent(path), exist_ok=True)
                remote.fs.pipe_file(path, content)
            except FileNotFoundError as error:  # of a folder in which nobody can make one
                raise _unusable(error, address(self._repo)) from None


_opened: "WeakKeyDictionary[Repo, dict[str | None, tuple[Any, Any]]]" = WeakKeyDictionary()


def _translated(error: BaseException, where: str) -> TaskError | None:
    if missing := missing_package(error, f"the DVC remote {where}"):
        return missing
    chain = list(_causes(error))
    if own := next((one for one in chain if _is_of_folder(one, where)), None):
        return _unusable(own, where)
    text = "\n".join(f"{type(one).__name__}: {one}" for one in chain)
    if NO_CREDENTIALS.search(text):
        return RemoteRefusedError(f"no credentials for the DVC remote {where} ({_line(error)}). {_how_to_give(where)}")
    refused = (
        type(one).__name__ in REFUSALS or (isinstance(one, PermissionError) and one.filename is None) for one in chain
    )
    if any(refused) or REFUSED.search(text):
        return RemoteRefusedError(f"the DVC remote {where} refuses the credentials ({_line(error)}). Check them.")
    foreign = any(type(one).__module__.partition(".")[0] in CLIENTS for one in chain)
    timed_out = any(isinstance(one, ConnectionError | TimeoutError) for one in chain)
    if foreign or timed_out or UNREACHABLE.search(text):
        return RemoteError(f"the DVC remote {where} does not answer ({_line(error)}). Is it running?")
    return None


def _is_of_folder(error: BaseException, where: str) -> bool:
    """Whether it is the system that refuses a remote that is a folder: a file in it, it, or a folder that it is in."""
    if not isinstance(error, OSError) or not error.filename or "://" in where:
        return False
    folder, refused = Path(where), Path(os.fsdecode(error.filename))
    return refused.is_relative_to(folder) or folder.is_relative_to(refused)


def _unusable(error: BaseException, folder: str) -> RemoteError:
    return RemoteError(f"the DVC remote {folder} cannot be used ({_line(error)}). Check that folder.")


def _how_to_give(where: str) -> str:
    """How credentials for a remote are given; for people."""
    variables = "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE with a profile of ~/.aws/credentials"
    given = f"Set {variables}" if where.startswith("s3:") else "Give them as DVC's documentation of such a remote says"
    return (
        f"{given}. In a DAG, remote_conn_id= can name a Connection that has them; in a checkout, `dvc remote modify "
        "--local` can set them."
    )


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]
