"""A server that knows ranges, or says that it does."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler
from typing import Any

from tests.http_server import QuietServer


class RangeServer:
    """Serves one file at every path, and counts what it is asked for.

    Attributes:
      data: The content of the file.
      ranges: What becomes of a request for a range: "known", "unknown", or a way to lie (see
        `_Handler._answer`).
      suffixes: Whether ranges that are counted from the end are known.
      validators: The headers that tell the version.
      cuts: The numbers of bytes after which bodies break off, one a request; then none do.
      most: The most bytes that a range is answered with; None for any.
      statuses: The statuses of the next answers, instead of what they should be.
      asked: The header Range of each request, or "whole".
      paths: The target of each request.
      connections: The ports of the clients.
    """

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.ranges = "known"
        self.suffixes = True
        self.validators: dict[str, str] = {"ETag": '"1"'}
        self.cuts: list[int] = []
        self.most: int | None = None
        self.statuses: list[int] = []
        self.asked: list[str] = []
        self.paths: list[str] = []
        self.connections: set[int] = set()

    def __enter__(self) -> RangeServer:
        self._server = QuietServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"file": self}))
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        self.port = int(self._server.server_address[1])
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def url(self, path: str = "a.tar") -> str:
        return f"http://127.0.0.1:{self.port}/{path}"


class _Handler(BaseHTTPRequestHandler):
    file: Any
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        file, asked = self.file, self.headers["Range"]
        file.connections.add(self.client_address[1])
        file.paths.append(self.path)
        file.asked.append(asked or "whole")
        if file.statuses:
            return self._send(file.statuses.pop(0), b"", {})
        headers = dict(file.validators)
        if asked is None or file.ranges == "unknown":
            if file.ranges == "in chunks":
                headers["Transfer-Encoding"] = "chunked"
            return self._send(200, file.data, headers)
        self._answer(asked.removeprefix("bytes="), headers)

    def _answer(self, span: str, headers: dict[str, str]) -> None:
        data, size, lie = self.file.data, len(self.file.data), self.file.ranges
        first, _, last = span.partition("-")
        if not first and not self.file.suffixes:
            return self._send(400, b"", {})
        begin = int(first) if first else max(0, size - int(last))
        end = min(size, int(last) + 1) if first and last else size
        if begin >= size:
            told = {} if lie == "without Content-Range" else {"Content-Range": f"bytes */{size}"}
            return self._send(416, b"", told)
        end = min(end, begin + (self.file.most or size))
        told = f"bytes {begin}-{end - 1}/{'*' if lie == 'of unknown size' else size}"
        if lie == "another range":
            told = f"bytes {begin + 1}-{end}/{size}"
        elif lie == "the beginning":
            told, begin, end = f"bytes 0-{end - begin - 1}/{size}", 0, end - begin
        elif lie == "too short":
            end = begin + (end - begin) // 2
        elif lie == "encoded":
            headers["Content-Encoding"] = "gzip"
        elif lie == "in chunks":
            headers["Transfer-Encoding"] = "chunked"
        if lie != "without Content-Range":
            headers["Content-Range"] = told
        self._send(200 if lie == "said to be the whole" else 206, data[begin:end], headers)

    def _send(self, status: int, data: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        is_chunked = "Transfer-Encoding" in headers
        if not is_chunked:
            self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        cuts = self.file.cuts
        if cuts and data and cuts[0] < len(data):
            self.wfile.write(data[: cuts.pop(0)])
            self.close_connection = True
        elif is_chunked:
            chunk = b"%x\r\n%b\r\n" % (len(data), data) if data else b""
            self.wfile.write(chunk + b"0\r\n\r\n")
        else:
            self.wfile.write(data)
