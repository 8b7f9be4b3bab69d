"""Where raw data come from: scikit-learn's built-in sets, a path, an HTTP address, an object in an S3 store.

A source's *version* is a short text that changes when its bytes do (an ETag or an MD5). A run pins it at its start, so
that all of the run sees the same bytes and a later run knows whether they have changed.
"""

import hashlib
import string
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from include.errors import AccessError, ConfigError, DataError, ServiceError
from include.settings import RuntimeSettings
from include.store.client import client, error_code, translated_errors

SKLEARN_DATASETS = ("iris", "wine", "breast_cancer", "digits")
CHUNK = 1 << 20  # bytes


def fill_date(source: str, moment: datetime) -> str:
    """Put the run's date where the source says ``{date}`` or ``{date:%Y-%m-%d}``.

    :raises ConfigError: another placeholder, or unbalanced braces.
    """
    try:
        fields = list(string.Formatter().parse(source))
    except ValueError as error:
        raise ConfigError(f"data.source: {source!r}: {error}. Use {{date:%Y-%m-%d}}, or no braces.") from None
    filled = ""
    for text, name, spec, conversion in fields:
        filled += text
        if name is None:
            continue
        if name != "date" or conversion:
            raise ConfigError(f"data.source: {source!r}: only {{date:...}} may be used in braces, not {{{name}}}.")
        filled += moment.strftime(spec or "%Y-%m-%d")
    return filled


def kind(source: str) -> str:
    """``sklearn``, ``s3``, ``http`` or ``file``.

    :raises ConfigError: an address of another kind.
    """
    if source.startswith("sklearn:"):
        return "sklearn"
    scheme, separator, _ = source.partition("://")
    if not separator:
        return "file"
    if scheme in ("http", "https"):
        return "http"
    if scheme == "s3":
        return "s3"
    raise ConfigError(f"data.source: {source!r}: use sklearn:<name>, a path, http(s):// or s3://, not {scheme}://.")


def current_version(source: str, runtime: RuntimeSettings, base_dir: Path) -> str | None:
    """What to pin: None for built-in data, else an ETag or MD5.

    :param base_dir: what a relative path is relative to.
    :raises DataError: there is nothing at that place.
    :raises ServiceError, AccessError: the place cannot be asked.
    """
    match kind(source):
        case "sklearn":
            builtin_name(source)
            return None
        case "file":
            return f"md5:{_md5_of(_existing(source, base_dir))}"
        case "http":
            return _http_version(source, _timeout(runtime))
        case _:
            return _s3_version(source, runtime)


def require_resolved(source: str) -> None:
    """Make sure that no date is left to be filled in.

    :raises ConfigError: there is; only a run of the DAG has a date.
    """
    if "{date" in source:
        raise ConfigError(f"data.source: {source!r} needs a date, which only a run of the DAG has. Write one instead.")


class LocalFile(NamedTuple):
    """A file of this machine, and the MD5 of its content."""

    path: Path
    md5: str


@contextmanager
def local_file(source: str, version: str | None, runtime: RuntimeSettings, base_dir: Path) -> Iterator[LocalFile]:
    """A file, HTTP or S3 source as a file of this machine; what has to be fetched for it is removed afterwards.

    :param version: what the run pinned; None takes what is there.
    :raises DataError: nothing there, empty, or no longer the pinned version.
    """
    with TemporaryDirectory(prefix="source-") as folder:
        before = None
        match kind(source):
            case "file":
                path = _existing(source, base_dir)
                before, md5 = path.stat(), _md5_of(path)
                found = f"md5:{md5}"
            case "http":
                path = Path(folder) / "source"
                with path.open("wb") as file:
                    md5, found = _http_get(source, _timeout(runtime), file.write)
            case _:
                path, before = Path(folder) / "source", None
                with path.open("wb") as file:
                    md5, found = _s3_get(source, runtime, file.write)
        if version is not None and version != found:
            raise _changed(source, version, found)
        if _is_blank(path):
            raise DataError(f"data.source: {source} is empty. Put a table with a header there, or change data.source.")
        yield LocalFile(path, md5)
        if before and (path.stat().st_mtime_ns, path.stat().st_size) != (before.st_mtime_ns, before.st_size):
            raise _changed(source, found, f"md5:{_md5_of(path)}")


def _changed(source: str, version: str, found: str) -> DataError:
    return DataError(f"data.source: {source} changed during the run (was {version}, is {found}). Start a new run.")


def _md5_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def _is_blank(path: Path) -> bool:
    with path.open("rb") as file:
        return not any(piece.strip() for piece in iter(lambda: file.read(CHUNK), b""))


def builtin_name(source: str) -> str:
    """Which of scikit-learn's data sets ``sklearn:<name>`` means.

    :raises ConfigError: none.
    """
    name = source.removeprefix("sklearn:")
    if name not in SKLEARN_DATASETS:
        raise ConfigError(
            f"data.source: no built-in data set is named {name!r}; available: {', '.join(SKLEARN_DATASETS)}."
        )
    return name


def _existing(source: str, base_dir: Path) -> Path:
    path = base_dir / source
    try:
        path.open("rb").close()
        return path
    except FileNotFoundError:
        raise DataError(f"data.source: no file at {path}. Put it there, or change data.source.") from None
    except OSError as error:
        raise DataError(f"data.source: {path} cannot be read: {error.strerror}.") from None


def _timeout(runtime: RuntimeSettings) -> tuple[int, int]:
    """In seconds, as `requests` takes it: to connect, and between two pieces of the answer."""
    return runtime.source_connect_timeout, runtime.source_read_timeout


def _http_get(source: str, timeout: tuple[int, int], take: Callable[[bytes], Any]) -> tuple[str, str]:
    """Hand the answer on piece by piece.

    :return: its MD5, and its version.
    """
    import requests

    try:
        with requests.get(source, timeout=timeout, stream=True) as answer:
            _check_status(source, answer.status_code)
            md5 = _hand_on(answer.iter_content(CHUNK), take)
            return md5, _validator(answer.headers) or f"md5:{md5}"
    except requests.RequestException as error:
        raise ServiceError(f"data.source: {_bare(source)} does not answer ({type(error).__name__}).") from None


def _http_version(source: str, timeout: tuple[int, int]) -> str:
    import requests

    try:
        answer = requests.head(source, timeout=timeout, allow_redirects=True)
    except requests.RequestException as error:
        raise ServiceError(f"data.source: {_bare(source)} does not answer ({type(error).__name__}).") from None
    if answer.ok and (found := _validator(answer.headers)):
        return found
    return _http_get(source, timeout, len)[1]  # a server that knows no HEAD, or says neither ETag nor date


def _hand_on(pieces: Iterable[bytes], take: Callable[[bytes], Any]) -> str:
    digest = hashlib.md5(usedforsecurity=False)
    for piece in pieces:
        digest.update(piece)
        take(piece)
    return digest.hexdigest()


def _validator(headers: Mapping[str, str]) -> str | None:
    return headers.get("ETag") or headers.get("Last-Modified")


def _check_status(source: str, status: int) -> None:
    if status in (404, 410):
        raise DataError(f"data.source: nothing found at {_bare(source)} (HTTP {status}).")
    if status in (401, 403):
        raise AccessError(f"data.source: {_bare(source)} refuses access (HTTP {status}).")
    if status >= 400:
        raise ServiceError(f"data.source: {_bare(source)} answered HTTP {status}.")


def _bare(source: str) -> str:
    """The address without its query, which may hold a token."""
    return source.partition("?")[0].partition("#")[0]


def _s3_place(source: str) -> tuple[str, str]:
    bucket, _, key = source.removeprefix("s3://").partition("/")
    if not bucket or not key:
        raise ConfigError(f"data.source: {source!r}: use s3://<bucket>/<key>.")
    return bucket, key


def _s3_version(source: str, runtime: RuntimeSettings) -> str:
    bucket, key = _s3_place(source)
    with translated_errors(runtime, f"data.source: {source}"), _named_if_absent(source):
        return client(runtime).head_object(Bucket=bucket, Key=key)["ETag"]


def _s3_get(source: str, runtime: RuntimeSettings, take: Callable[[bytes], Any]) -> tuple[str, str]:
    """As `_http_get`."""
    bucket, key = _s3_place(source)
    with translated_errors(runtime, f"data.source: {source}"), _named_if_absent(source):
        answer = client(runtime).get_object(Bucket=bucket, Key=key)
        return _hand_on(answer["Body"].iter_chunks(CHUNK), take), answer["ETag"]


@contextmanager
def _named_if_absent(source: str) -> Iterator[None]:
    from botocore.exceptions import ClientError

    try:
        yield
    except ClientError as error:
        if error_code(error) in ("404", "NoSuchKey", "NoSuchBucket"):
            raise DataError(f"data.source: no object at {source}. Put it there, or change data.source.") from None
        raise
