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

    /flaky/N/NAME fails N times with 503, then serves; /later/SECONDS; /status/CODE;
    /endless; /slow; /drip and /dripping-headers send a byte now
    and then; /loop redirects to itself; /to?URL redirects; /short/NAME breaks off halfway;
    /held/NAME waits until `held` is set. While `down` is set, connections are closed unanswered.
    Files have the versions of `validators` (header name and value), which requests may be
    conditional on if `conditional` is set. A status in `always` is what all of them answer, with
    its headers.
    """

    def __init__(self, files: dict[str, bytes]) -> None:
        self.files = files
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
        self._server = QuietServer(("127.0.0.1", 0), _handler(self))
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
    """Says nothing of clients that hang up."""

    request_queue_size = 1024

    def handle_error(self, request: object, client_address: object) -> None:
        pass


def _handler(server: ImageServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: object) -> None:
            pass

        def do_GET(self) -> None:
            if server.down.is_set():
                self.close_connection = True
                return
            path = self.path.lstrip("/")
            server.hits[path] += 1
            server.headers = dict(self.headers)
            try:
                self.respond(path)
            except OSError:
                self.close_connection = True

        def respond(self, path: str) -> None:
            kind, _, rest = path.partition("/")
            if kind == "flaky":
                times, _, name = rest.partition("/")
                if server.hits[path] <= int(times):
                    return self.send(503, b"", {"Retry-After": "0"})
                return self.send(200, server.files[name])
            if kind == "status":
                return self.send(int(rest), b"")
            if kind == "later":
                return self.send(429, b"", {"Retry-After": rest})
            if kind == "loop":
                return self.send(302, b"", {"Location": "/loop"})
            if kind.startswith("to?"):
                return self.send(302, b"", {"Location": path[len("to?") :]})
            if kind == "endless":
                self.send_response(200)
                self.end_headers()
                while not server.closing.is_set():
                    self.wfile.write(b"\xff\xd8\xff" + b"x" * 65536)
            if kind in ("slow", "drip", "dripping-headers"):
                self.close_connection = True
                if kind == "dripping-headers":
                    self.wfile.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
                if kind == "drip":
                    self.send_response(200)
                    self.end_headers()
                while not server.closing.is_set():
                    if kind != "slow":
                        self.wfile.write(b"x")
                        self.wfile.flush()
                    time.sleep(0.05)
                return None
            if kind == "short":
                data = server.files[rest]
                self.send_response(200)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data[: len(data) // 2])
                self.close_connection = True
                return None
            if kind == "held":
                server.held.wait()
                path = rest
            name = path.split("?", 1)[0]
            if name in server.files:
                validators = server.validators.get(name, {})
                for status, headers in server.always.items():
                    return self.send(status, b"", headers)
                if server.conditional and self.unmodified(validators):
                    return self.send(304, b"", validators)
                server.sent[name] += 1
                return self.send(200, server.files[name], validators)
            return self.send(404, b"no")

        def unmodified(self, validators: dict[str, str]) -> bool:
            """As RFC 9110, section 13.2.2: a date that is not later is the same to a server."""
            tag, since = self.headers["If-None-Match"], self.headers["If-Modified-Since"]
            if tag or not since:
                return bool(tag) and tag == validators.get("ETag")
            date = validators.get("Last-Modified")
            return bool(date) and parsedate_to_datetime(date) <= parsedate_to_datetime(since)

        def send(self, status: int, data: bytes, headers: dict[str, str] | None = None) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            for name, value in (headers or {}).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(data)

    return Handler
