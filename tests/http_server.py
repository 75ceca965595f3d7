"""A real HTTP server that behaves badly on demand."""

from __future__ import annotations

import threading
import time
from collections import Counter
from email.utils import parsedate_to_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType


class ImageServer:
    """Serves `files` by name on loopback, and at other paths every kind of trouble.

    /flaky/N/NAME fails N times with 503, then serves the file; /status/CODE answers with the
    status; /later/SECONDS answers 429 with this Retry-After. /endless never ends, /slow never
    begins, /drip and /dripping-headers send a byte now and then. /loop redirects to itself, and
    /to?URL elsewhere; /short/NAME breaks off halfway; /held/NAME waits until `held` is set.

    Attributes:
      files: The content of each file by its name.
      hits: The number of requests for each path.
      headers: The headers of the last request.
      validators: The headers that tell a file's version, by the name of the file.
      conditional: Whether the server heeds conditions on these versions.
      always: A status that all files are answered with instead, and its headers.
      sent: The number of times that each file's content was sent.
      closing: An event that ends endless answers.
      held: An event that lets /held answer.
      down: An event; while it is set, connections are closed unanswered.
      pause: The seconds before each answer.

    Args:
      files: The content of each file by its name.
      address: The address to listen at; 0.0.0.0 is every one of 127.0.0.1, 127.0.0.2, ...
    """

    def __init__(self, files: dict[str, bytes], *, address: str = "127.0.0.1") -> None:
        self.files = files
        self.address = address
        self.pause = 0.0
        self.hits: Counter[str] = Counter()
        self.headers: dict[str, str] = {}
        self.validators: dict[str, dict[str, str]] = {}
        self.conditional = True
        self.always: dict[int, dict[str, str]] = {}
        self.sent: Counter[str] = Counter()
        self.closing = threading.Event()
        self.held = threading.Event()
        self.down = threading.Event()

    def __enter__(self) -> ImageServer:
        self._server = QuietServer(
            (self.address, 0), type("Handler", (_Handler,), {"images": self})
        )
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.closing.set()
        self._server.shutdown()
        self._server.server_close()

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}/{path}"


class QuietServer(ThreadingHTTPServer):
    """A server that says nothing of clients that hang up."""

    request_queue_size = 1024

    def handle_error(self, request: object, client_address: object) -> None:
        pass


class _Handler(BaseHTTPRequestHandler):
    """Answers the requests of one client of `images`, which a sub-class sets."""

    images: ImageServer
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        if self.images.down.is_set():
            self.close_connection = True
            return
        time.sleep(self.images.pause)
        path = self.path.lstrip("/")
        self.images.hits[path] += 1
        self.images.headers = dict(self.headers)
        try:
            self._respond(path)
        except OSError:
            self.close_connection = True

    def _respond(self, path: str) -> None:
        kind, _, rest = path.partition("/")
        if kind == "flaky":
            times, _, name = rest.partition("/")
            if self.images.hits[path] <= int(times):
                self._send(503, b"", {"Retry-After": "0"})
            else:
                self._send(200, self.images.files[name])
        elif kind == "status":
            self._send(int(rest), b"")
        elif kind == "later":
            self._send(429, b"", {"Retry-After": rest})
        elif kind == "loop":
            self._send(302, b"", {"Location": "/loop"})
        elif kind.startswith("to?"):
            self._send(302, b"", {"Location": path[len("to?") :]})
        elif kind == "short":
            self._break_off(self.images.files[rest])
        elif kind in ("endless", "slow", "drip", "dripping-headers"):
            self.close_connection = True
            self._go_on(kind)
        elif kind == "held":
            self.images.held.wait()
            self._send_file(rest)
        else:
            self._send_file(path)

    def _go_on(self, kind: str) -> None:
        """Sends one thing after the other, or nothing if it is slow, until the server closes."""
        if kind == "dripping-headers":
            self.wfile.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
        elif kind in ("drip", "endless"):
            self.send_response(200)
            self.end_headers()
        while not self.images.closing.is_set():
            if kind == "endless":
                self.wfile.write(b"\xff\xd8\xff" + b"x" * 65536)
                continue
            if kind != "slow":
                self.wfile.write(b"x")
                self.wfile.flush()
            time.sleep(0.05)

    def _break_off(self, data: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data[: len(data) // 2])
        self.close_connection = True

    def _send_file(self, path: str) -> None:
        name = path.split("?", 1)[0]
        if name not in self.images.files:
            return self._send(404, b"no")
        for status, headers in self.images.always.items():
            return self._send(status, b"", headers)
        validators = self.images.validators.get(name, {})
        if self.images.conditional and self._unmodified(validators):
            return self._send(304, b"", validators)
        self.images.sent[name] += 1
        return self._send(200, self.images.files[name], validators)

    def _unmodified(self, validators: dict[str, str]) -> bool:
        """Compares dates as RFC 9110, section 13.2.2: one that is not later is the same."""
        tag, since = self.headers["If-None-Match"], self.headers["If-Modified-Since"]
        if tag or not since:
            return bool(tag) and tag == validators.get("ETag")
        date = validators.get("Last-Modified")
        return bool(date) and parsedate_to_datetime(date) <= parsedate_to_datetime(since)

    def _send(self, status: int, data: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)
