"""Cloud Storage's XML API on loopback, before a bucket whose server knows the JSON API only.

Lance writes by the XML API, as object_store does; Beam and Google's own clients by the other.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

from google.api_core.exceptions import NotFound, PreconditionFailed

from tests.http_server import QuietServer


@contextlib.contextmanager
def xml_api(bucket: Any) -> Iterator[str]:
    """Serves a google-cloud-storage Bucket by the XML API; yields the server's URL."""
    server = QuietServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"bucket": bucket}))
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    """Answers the requests for `bucket`, which a sub-class sets."""

    bucket: Any
    lock = threading.Lock()
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None:
        pass

    def _handle(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        url = urlsplit(self.path)
        name = unquote(url.path).removeprefix(f"/{self.bucket.name}").removeprefix("/")
        with self.lock:  # The client is for one thread.
            try:
                if not name:
                    self._answer(200, self._list(parse_qs(url.query)))
                elif self.command == "PUT":
                    self._put(name, body)
                elif self.command == "DELETE":
                    self.bucket.blob(name).delete()
                    self._answer(204)
                else:
                    self._get(name)
            except NotFound:
                self._answer(404)
            except PreconditionFailed:
                self._answer(412)

    def _put(self, name: str, body: bytes) -> None:
        wanted = self.headers.get("x-goog-if-generation-match")
        condition = {} if wanted is None else {"if_generation_match": int(wanted)}
        if condition and int(wanted or 0) == 0 and self.bucket.blob(name).exists():
            raise PreconditionFailed(name)
        self.bucket.blob(name).upload_from_string(body, **condition)
        self._answer(200, etag='"1"')

    def _get(self, name: str) -> None:
        blob = self.bucket.get_blob(name)
        if blob is None:
            raise NotFound(name)
        data = blob.download_as_bytes()
        size, status, headers = len(data), 200, {}
        if asked := self.headers.get("Range"):
            first, _, last = asked.removeprefix("bytes=").partition("-")
            begin = int(first) if first else max(0, size - int(last))
            end = min(size, int(last) + 1) if first and last else size
            data, status = data[begin:end], 206
            headers["Content-Range"] = f"bytes {begin}-{end - 1}/{size}"
        self._answer(status, data, **headers)

    def _list(self, query: dict[str, list[str]]) -> bytes:
        prefix = query.get("prefix", [""])[0]
        delimiter = query.get("delimiter", [""])[0]
        found, below = "", set()
        for blob in self.bucket.list_blobs(prefix=prefix):
            rest = blob.name[len(prefix) :]
            if delimiter and delimiter in rest:
                below.add(prefix + rest.partition(delimiter)[0] + delimiter)
                continue
            found += (
                f"<Contents><Key>{escape(blob.name)}</Key><Size>{blob.size}</Size>"
                f"<LastModified>{blob.updated:%Y-%m-%dT%H:%M:%S.%fZ}</LastModified>"
                "<ETag>1</ETag></Contents>"
            )
        for folder in sorted(below):
            found += f"<CommonPrefixes><Prefix>{escape(folder)}</Prefix></CommonPrefixes>"
        return f"<ListBucketResult>{found}</ListBucketResult>".encode()

    def _answer(self, status: int, data: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in ({"etag": '"1"'} | headers).items():
            self.send_header(name, value)
        self.send_header("Last-Modified", "Thu, 01 Jan 2026 00:00:00 GMT")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    do_GET = do_HEAD = do_PUT = do_DELETE = _handle
