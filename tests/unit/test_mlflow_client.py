"""What MLflow's refusals mean: wrong credentials cannot pass, a refused request may."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from include.errors import AccessError, ConfigError, PipelineError, ServiceError
from include.mlflow_client import aliases_of_version, champion_version, deleted_run, server_version, translated_errors
from include.settings import RuntimeSettings


@contextmanager
def answering(status: int, body: bytes = b"Permission denied") -> Iterator[RuntimeSettings]:
    """A server that answers everything with this status."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield RuntimeSettings(mlflow_tracking_uri=f"http://user:hunter2@127.0.0.1:{server.server_port}")
        finally:  # else a test that fails would leave the thread, and pytest would not end
            server.shutdown()
            thread.join()


@pytest.mark.parametrize(("status", "kind"), [(401, AccessError), (403, ServiceError), (500, ServiceError)])
@pytest.mark.parametrize(
    "ask",
    [
        server_version,
        lambda runtime: deleted_run(runtime, "0" * 32),
        lambda runtime: champion_version(runtime, "m"),
        lambda runtime: aliases_of_version(runtime, "m", "1"),
    ],
)
def test_our_own_requests(ask: Callable[[RuntimeSettings], object], status: int, kind: type[PipelineError]):
    with answering(status) as runtime, pytest.raises(kind, match=r"MLflow at http://127\.0\.0\.1:\d+") as caught:
        ask(runtime)

    assert type(caught.value) is kind
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("body", [b"<html>", b"{}", b"[1]", b"null", b'{"model_version": 1, "run": {"info": []}}'])
def test_an_answer_of_another_server_is_named(body: bytes):
    asked: list[Callable[[RuntimeSettings], object]] = [
        lambda runtime: deleted_run(runtime, "0" * 32),
        lambda runtime: champion_version(runtime, "m"),
        lambda runtime: aliases_of_version(runtime, "m", "1"),
    ]
    with answering(200, body) as runtime:
        for ask in asked:
            with pytest.raises(ServiceError, match=r"127\.0\.0\.1:\d+ is not MLflow"):
                ask(runtime)


@pytest.mark.parametrize("text", ["Model with name=x not found", "Model with name=x not found."])
def test_a_refusal_is_a_sentence_that_ours_follows(text: str):
    from mlflow.exceptions import MlflowException
    from mlflow.protos.databricks_pb2 import RESOURCE_DOES_NOT_EXIST

    with pytest.raises(ConfigError) as caught, translated_errors(RuntimeSettings()):
        raise MlflowException(text, RESOURCE_DOES_NOT_EXIST)

    assert "Model with name=x not found. Check mlflow and registry in config/config.yaml." in str(caught.value)


@pytest.mark.parametrize(
    ("code", "kind", "said"),
    [(401, AccessError, "MLFLOW_TRACKING_PASSWORD"), (403, ServiceError, "permissions of the user")],
)
def test_mlflows_own_client(code: int, kind: type[PipelineError], said: str):
    from mlflow.exceptions import MlflowException

    with pytest.raises(kind, match=said) as caught, translated_errors(RuntimeSettings()):
        raise MlflowException(f"API request to endpoint /x failed with error code {code} != 200. Response body: 'no'")

    assert type(caught.value) is kind
