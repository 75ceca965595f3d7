"""Cloud Storage on loopback: a server, and a proxy before it that makes trouble.

Access is one of these: as an application with a service account, whose sign-in is on loopback too,
and then what has no token that is taken is denied; with google.auth's anonymous credentials; or as
to an emulator, for which STORAGE_EMULATOR_HOST stands.
"""

from __future__ import annotations

import contextlib
import dataclasses
import email
import enum
import pathlib
import subprocess
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest
import urllib3

from image_features.transforms.images.fetcher import Fetcher
from image_features.transforms.stores import gcs_ranges
from tests import tools
from tests.http_server import QuietServer
from tests.sign_in import VARIABLE, SignIn

# It tells the status that a request is answered with, or None to pass it on.
Trouble = Callable[[str, str, int], int | None]
_HOP_BY_HOP = frozenset({"connection", "keep-alive", "transfer-encoding", "host"})


class Access(enum.Enum):
    """The ways to be known to the server."""

    SERVICE_ACCOUNT = enum.auto()
    ANONYMOUS = enum.auto()
    EMULATOR = enum.auto()


@contextlib.contextmanager
def emulator(
    patch: pytest.MonkeyPatch, bucket: str, access: Access = Access.SERVICE_ACCOUNT
) -> Iterator[Any]:
    """Runs gcp-storage-emulator in this process; yields google-cloud-storage's Bucket."""
    from gcp_storage_emulator.server import create_server

    port = tools.free_port()
    server = create_server("127.0.0.1", port, in_memory=True, default_bucket=bucket)
    server.start()
    try:
        with Proxy(f"http://127.0.0.1:{port}") as proxy, _known(patch, proxy, access) as client:
            yield client.bucket(bucket)
    finally:
        server.stop()


@contextlib.contextmanager
def server(
    patch: pytest.MonkeyPatch, bucket: str, access: Access = Access.SERVICE_ACCOUNT
) -> Iterator[tuple[Any, Proxy]]:
    """Runs fake-gcs-server behind a proxy; yields google-cloud-storage's Bucket and the proxy."""
    binary = tools.go_program(tools.FAKE_GCS_SERVER)
    port = tools.free_port()
    with Proxy(f"http://127.0.0.1:{port}") as proxy:
        command = [binary, "-scheme=http", "-host=127.0.0.1", f"-port={port}", "-backend=memory"]
        # Uploads in pieces go to the address that the server gives as its own.
        command += [f"-external-url={proxy.url}", f"-public-host=127.0.0.1:{proxy.port}"]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            ready = f"http://127.0.0.1:{port}/storage/v1/b"
            tools.wait_until(lambda: tools.answers(ready), "fake-gcs-server")
            with _known(patch, proxy, access) as client:
                yield client.create_bucket(bucket), proxy
        finally:
            process.kill()
            process.wait()


@contextlib.contextmanager
def _known(patch: pytest.MonkeyPatch, proxy: Proxy, access: Access) -> Iterator[Any]:
    """Gives the application its access; yields a client of Google's that has it too."""
    import google.auth
    from google.auth.credentials import AnonymousCredentials
    from google.cloud import storage

    patch.setenv("NO_GCE_CHECK", "true")  # Without it google.auth waits for a metadata server.
    # Others may know a server that is gone.
    patch.setattr(Fetcher, "_shared", {})
    gcs_ranges.shared_client.cache_clear()
    anonymous = AnonymousCredentials()
    if access is Access.EMULATOR:
        patch.setenv("STORAGE_EMULATOR_HOST", proxy.url)
        # Without credentials Beam looks for them for twenty seconds, and goes on anonymously.
        patch.setattr("apache_beam.internal.gcp.auth._Credentials._credentials_init", True)
        yield storage.Client(project="p", credentials=anonymous)
        return
    patch.delenv("STORAGE_EMULATOR_HOST", raising=False)
    patch.setenv("API_ENDPOINT_OVERRIDE", proxy.url)
    for name, value in (("_credentials_init", False), ("_credentials", None)):
        patch.setattr(f"apache_beam.internal.gcp.auth._Credentials.{name}", value)
    if access is Access.ANONYMOUS:
        patch.setattr(google.auth, "default", lambda **_: (anonymous, None))
        yield storage.Client(project="p", credentials=anonymous)
        return
    with tempfile.TemporaryDirectory() as folder, SignIn() as proxy.sign_in:
        key = proxy.sign_in.service_account(pathlib.Path(folder, "key.json"))
        patch.setenv(VARIABLE, str(key))
        yield storage.Client()


@dataclasses.dataclass(frozen=True)
class _Answer:
    status: int
    headers: dict[str, str]
    data: bytes


class Proxy:
    """A proxy that passes requests on, unless `trouble` has an answer of its own.

    Attributes:
      trouble: A function of the method, the path without its query, and how often that was asked
        for; it returns a status or None.
      statuses: The number of times that the trouble answered with each status.
      sign_in: The giver of the tokens that requests must have; None if none is needed.
    """

    def __init__(self, target: str) -> None:
        self.trouble: Trouble = lambda method, path, times: None
        self.statuses: Counter[int] = Counter()
        self.sign_in: SignIn | None = None
        self._target = target
        self._pool = urllib3.PoolManager(maxsize=64)
        self._asked: Counter[tuple[str, str]] = Counter()

    def __enter__(self) -> Proxy:
        self._server = QuietServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"proxy": self}))
        self._server.daemon_threads = True
        self.port = int(self._server.server_address[1])
        self.url = f"http://127.0.0.1:{self.port}"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def forget(self) -> None:
        """Begins to count requests anew."""
        self._asked.clear()
        self.statuses.clear()

    def answer(self, method: str, path: str, authorization: str | None) -> int | None:
        """Returns the status with which a request is answered before it reaches the server."""
        if self.sign_in and not self.sign_in.is_known(authorization):
            return 401
        plain = path.partition("?")[0]
        self._asked[method, plain] += 1
        status = self.trouble(method, plain, self._asked[method, plain])
        if status is not None:
            self.statuses[status] += 1
        return status

    def ask(self, method: str, path: str, body: bytes, headers: dict[str, str]) -> _Answer:
        """Passes a request on, and returns the server's answer."""
        answer = self._pool.request(
            method,
            self._target + path,
            body=body or None,
            headers={k: v for k, v in headers.items() if k.lower() not in _HOP_BY_HOP},
            redirect=False,
            retries=False,
            decode_content=False,
        )
        return _Answer(answer.status, dict(answer.headers), answer.data)


class _Handler(BaseHTTPRequestHandler):
    """Handles the requests of one client of `proxy`, which a sub-class sets."""

    proxy: Proxy
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None:
        pass

    def _handle(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        status = self.proxy.answer(self.command, self.path, self.headers["Authorization"])
        if status is not None:
            answer = _Answer(status, {}, b"{}")
        elif self.path.startswith("/batch/"):
            answer = self._pass_on_each(body)
        else:
            answer = self.proxy.ask(self.command, self.path, body, dict(self.headers))
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            if name.lower() not in _HOP_BY_HOP | {"content-length", "date", "server"}:
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(answer.data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer.data)

    def _pass_on_each(self, body: bytes) -> _Answer:
        """Passes on the requests of a batch, since fake-gcs-server does not take Google's form."""
        kind = self.headers["Content-Type"]
        parts = email.message_from_bytes(b"Content-Type: " + kind.encode() + b"\n\n" + body)
        answers = b""
        for part in parts.get_payload():
            head, _, content = part.get_payload().replace("\r\n", "\n").partition("\n\n")
            method, url, _ = head.split("\n")[0].split()
            path = "/" + url.partition("://")[2].partition("/")[2]
            headers = {"Content-Type": "application/json"} if content.strip() else {}
            answer = self.proxy.ask(method, path, content.strip().encode(), headers)
            answers += (
                b"--answer\r\nContent-Type: application/http\r\n\r\n"
                b"HTTP/1.1 %d -\r\nContent-Type: application/json\r\n\r\n%b\r\n"
            ) % (answer.status, answer.data)
        return _Answer(
            200, {"Content-Type": "multipart/mixed; boundary=answer"}, answers + b"--answer--"
        )

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = _handle
