"""A server of sockets, which says byte by byte what a test wants."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any

Script = bytes | Callable[[Any], None]


def answer(body: bytes = b"", *fields: str, status: str = "200 OK", length: bool = True) -> bytes:
    """Returns an answer; fields are encoded as UTF-8, as many servers do against the standard."""
    head = [f"HTTP/1.1 {status}", *fields]
    if length:
        head.append(f"Content-Length: {len(body)}")
    return ("\r\n".join(head) + "\r\n\r\n").encode() + body


def chunked(body: bytes, size: int = 700) -> bytes:
    """Returns a body in chunks, with an extension and a trailer."""
    chunks = [body[at : at + size] for at in range(0, len(body), size)]
    return b"".join(b"%x;ext=1\r\n%b\r\n" % (len(c), c) for c in chunks) + b"0\r\nX-T: 1\r\n\r\n"


class RawServer:
    """Answers the targets of requests with bytes, or by a function of the client's socket.

    A list is gone through, one entry a request, and its last one is repeated. A connection is
    closed after a function, and after bytes that tell neither length nor chunks, or to close.

    Attributes:
      scripts: The answers by the target of the request.
      hits: The number of requests for each target.
      heads: The bytes of each request.
      connections: The number of connections that were made.
    """

    def __init__(
        self,
        scripts: Mapping[str, Script | list[Script]],
        *,
        address: str = "127.0.0.1",
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.scripts = dict(scripts)
        self.hits: Counter[str] = Counter()
        self.heads: list[bytes] = []
        self.connections = 0
        self.closing = threading.Event()
        self._tls = tls
        self._listener = socket.create_server((address, 0), backlog=512)
        self.host = f"{address}:{self._listener.getsockname()[1]}"
        self.port = self._listener.getsockname()[1]

    def __enter__(self) -> RawServer:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.closing.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def url(self, target: str) -> str:
        return f"{'https' if self._tls else 'http'}://{self.host}{target}"

    def drips(self, begin: bytes, piece: bytes = b"x", seconds: float = 0.02) -> Script:
        """Returns an answer that sends a piece now and then, and never ends."""

        def drip(client: Any) -> None:
            client.sendall(begin)
            while not self.closing.wait(seconds):
                client.sendall(piece)

        return drip

    def _accept(self) -> None:
        while not self.closing.is_set():
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: Any) -> None:
        with contextlib.suppress(OSError):
            if self._tls:
                client = self._tls.wrap_socket(client, server_side=True)
            with client, client.makefile("rb") as lines:
                while self._answer(client, lines):
                    pass

    def _answer(self, client: Any, lines: Any) -> bool:
        head = first = lines.readline()
        while line := lines.readline().strip():
            head += line + b"\n"
        if not first.startswith((b"GET", b"POST")):
            return False  # The client has gone, or this is the body of its request.
        target = first.split(b" ")[1].decode("latin-1")
        self.hits[target] += 1
        self.heads.append(head)
        script = self.scripts.get(target, answer(b"no", status="404 Not Found"))
        if isinstance(script, list):
            script = script[min(self.hits[target], len(script)) - 1]
        if not isinstance(script, bytes):
            script(client)
            return False
        client.sendall(script)
        told = script.partition(b"\r\n\r\n")[0].lower()
        return (b"content-length" in told or b"chunked" in told) and b"close" not in told
