"""What MLflow's refusals of our own requests mean: wrong credentials cannot pass, a refused request may."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from include.errors import AccessError, PipelineError, ServiceError
from include.mlflow_requests import (
    aliases_of_version,
    champion_version,
    deleted_run,
    run_of_version,
    run_stage,
    server_version,
    tags_of_model,
)
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
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield RuntimeSettings(mlflow_tracking_uri=f"http://user:hunter2@127.0.0.1:{server.server_port}")
        finally:  # else a test that fails would leave the thread, and pytest would not end
            server.shutdown()
            thread.join()


ASKED: tuple[Callable[[RuntimeSettings], object], ...] = (
    lambda runtime: run_stage(runtime, "0" * 32),
    lambda runtime: deleted_run(runtime, "0" * 32),
    lambda runtime: champion_version(runtime, "m"),
    lambda runtime: tags_of_model(runtime, "m"),
    lambda runtime: run_of_version(runtime, "m", "1"),
    lambda runtime: aliases_of_version(runtime, "m", "1"),
)


@pytest.mark.parametrize(("status", "kind"), [(401, AccessError), (403, ServiceError), (500, ServiceError)])
@pytest.mark.parametrize("ask", [server_version, *ASKED])
def test_our_own_requests(ask: Callable[[RuntimeSettings], object], status: int, kind: type[PipelineError]):
    with answering(status) as runtime, pytest.raises(kind, match=r"MLflow at http://127\.0\.0\.1:\d+") as caught:
        ask(runtime)

    assert type(caught.value) is kind
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("body", [b"<html>", b"{}", b"[1]", b"null", b'{"model_version": 1, "run": {"info": []}}'])
def test_an_answer_of_another_server_is_named(body: bytes):
    with answering(200, body) as runtime:
        for ask in ASKED:
            with pytest.raises(ServiceError, match=r"127\.0\.0\.1:\d+ is not MLflow"):
                ask(runtime)
