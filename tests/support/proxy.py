"""A TCP proxy before a real server that can fall silent on some requests, as a server does that hangs."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from urllib.parse import urlsplit

METHODS = (b"GET ", b"PUT ", b"POST ", b"HEAD ", b"DELETE ", b"PATCH ")


REFUSAL = (
    b"HTTP/1.1 403 Forbidden\r\nContent-Type: application/xml\r\nConnection: close\r\nContent-Length: 55\r\n\r\n"
    b"<Error><Code>AccessDenied</Code><Message/></Error>     "
)


class Proxy:
    """``silent`` and ``refused`` decide by a request's first line whether it is never answered, or with a 403.

    ``lost`` decides so whose answer is lost, though the server does what it is asked; of one request only.
    ``left`` is the number of requests that are answered before the server is gone; None: it stays.
    """

    def __init__(self, target: str) -> None:
        self.silent: Callable[[bytes], bool] = lambda line: False
        self.refused: Callable[[bytes], bool] = lambda line: False
        self.lost: Callable[[bytes], bool] = lambda line: False
        self.left: int | None = None
        self.swallowed: list[bytes] = []
        parts = urlsplit(target)
        self._target = (str(parts.hostname), int(parts.port or 80))
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._open: list[socket.socket] = [self._listener]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """End all connections."""
        for one in self._open:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(self._target)
                self._open += [client, server]
                for source, sink, asks in ((client, server, True), (server, client, False)):
                    threading.Thread(target=self._pump, args=(source, sink, asks), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket, asks: bool) -> None:
        silent = False
        with suppress(OSError):
            while data := source.recv(65536):
                if silent:  # the rest of a request that is never answered; the connection stays open
                    continue
                if asks and data.startswith(METHODS):
                    if self.left is not None:
                        self.left -= 1
                        if self.left < 0:
                            source.close()
                            break
                    line = data.partition(b"\r\n")[0]
                    if self.lost(line):
                        self.lost = lambda line: False
                        self.swallowed.append(line)
                        sink.sendall(data)
                        sink.recv(1)  # it has been done
                        source.shutdown(socket.SHUT_RDWR)
                        break
                    if silent := self.silent(line):
                        self.swallowed.append(line)
                        continue
                    if self.refused(line):
                        source.sendall(REFUSAL)
                        break
                sink.sendall(data)
        with suppress(OSError):
            sink.shutdown(socket.SHUT_RDWR)


@contextmanager
def proxy_to(target: str) -> Iterator[Proxy]:
    """Run a proxy until the block ends."""
    proxy = Proxy(target)
    try:
        yield proxy
    finally:
        proxy.close()
