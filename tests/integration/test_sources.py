"""Sources that are served: HTTP and S3, CSV and Parquet, their versions, and what goes wrong with them."""

import functools
import http.server
import io
import threading
from collections.abc import Iterator

import pandas as pd
import pytest

from include.errors import AccessError, DataError, ServiceError
from include.settings import RuntimeSettings
from include.settings.config_file import validate_config
from include.stages.get_data import fetch, load_builtin
from include.store.client import client
from include.store.sources import current_version, local_file
from include.tables.parquet_file import read_parquet

IRIS = load_builtin("iris", "target")


@pytest.fixture(scope="module")
def runtime(services) -> RuntimeSettings:
    names = ("AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
    return RuntimeSettings.model_validate({name.lower(): services["env"][name] for name in names})


@pytest.fixture
def served(tmp_path) -> Iterator[str]:
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(tmp_path))
    handler.log_message = lambda *_: None  # type: ignore[attr-defined]
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


@pytest.fixture(scope="module")
def s3(runtime):
    return client(runtime)


@pytest.fixture(scope="module")
def landing(s3) -> str:
    s3.create_bucket(Bucket="landing")
    return "landing"


def data_config(config_document, **values):
    return validate_config({**config_document, "data": {**config_document["data"], **values}}).data


def test_a_csv_over_http_is_fetched_and_pinned(served, tmp_path, runtime, config_document):
    IRIS.to_csv(tmp_path / "iris.csv", index=False)
    source = f"{served}/iris.csv"
    version = current_version(source, runtime, tmp_path)

    raw = tmp_path / "raw.parquet"
    fetch(data_config(config_document, source=source, version=version), runtime, tmp_path, str(raw))

    pd.testing.assert_frame_equal(read_parquet(raw), IRIS)


def test_a_parquet_in_the_store_is_fetched_and_pinned_by_its_etag(s3, landing, runtime, tmp_path, config_document):
    buffer = io.BytesIO()
    IRIS.to_parquet(buffer)
    s3.put_object(Bucket=landing, Key="a/iris.parquet", Body=buffer.getvalue())
    source = f"s3://{landing}/a/iris.parquet"
    version = current_version(source, runtime, tmp_path)

    raw = tmp_path / "raw.parquet"
    fetch(data_config(config_document, source=source, version=version), runtime, tmp_path, str(raw))

    pd.testing.assert_frame_equal(read_parquet(raw), IRIS)


def test_an_object_that_changed_since_it_was_pinned_is_refused(s3, landing, runtime, tmp_path):
    source = f"s3://{landing}/changing.csv"
    s3.put_object(Bucket=landing, Key="changing.csv", Body=b"a,b\n1,2\n")
    version = current_version(source, runtime, tmp_path)
    assert current_version(source, runtime, tmp_path) == version
    s3.put_object(Bucket=landing, Key="changing.csv", Body=b"a,b\n1,3\n")

    assert current_version(source, runtime, tmp_path) != version
    reading = local_file(source, version, runtime, tmp_path)
    with pytest.raises(DataError, match=r"s3://landing/changing\.csv changed during the run"), reading:
        pass


@pytest.mark.parametrize("source", ["s3://landing/none.csv", "s3://no-such-bucket-here/none.csv"])
def test_an_absent_object_is_named(landing, runtime, tmp_path, source):
    with pytest.raises(DataError, match=f"no object at {source}"):
        current_version(source, runtime, tmp_path)
    with pytest.raises(DataError, match=f"no object at {source}"), local_file(source, None, runtime, tmp_path):
        pass


def test_an_absent_page_is_named_without_its_query(served, runtime, tmp_path):
    with pytest.raises(DataError, match=r"nothing found at http://127\.0\.0\.1:\d+/none\.csv \(HTTP 404\)") as caught:
        current_version(f"{served}/none.csv?token=hunter2", runtime, tmp_path)

    assert "hunter2" not in str(caught.value)


def test_a_server_that_is_away_may_come_back(runtime, tmp_path):
    with pytest.raises(ServiceError, match="does not answer"):
        current_version("http://127.0.0.1:9/x.csv", runtime, tmp_path)


def test_wrong_credentials_cannot_pass(landing, runtime, tmp_path):
    wrong = runtime.model_copy(update={"aws_access_key_id": "nobody"})

    with pytest.raises(AccessError, match="refuses the credentials"):
        current_version("s3://landing/changing.csv", wrong, tmp_path)
