"""A server that is none of those that the pipeline uses: it answers every request with a page."""

from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread


class LoginPage(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"<html>log in</html>")

    def log_message(self, *arguments: object) -> None:
        pass


@contextmanager
def login_page() -> Iterator[str]:
    """Serve it until the block ends; its host and port."""
    server = HTTPServer(("127.0.0.1", 0), LoginPage)
    thread = Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
