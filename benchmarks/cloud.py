"""The part of Google Cloud that a run needs, on loopback: storage, and tokens to reach it with.

It is a program for `loopback.Server`, whose ports are the storage's and the metadata server's.
Without the second one clients would look for credentials for half a minute.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from http.server import HTTPServer

from gcp_storage_emulator.server import create_server

from benchmarks.loopback import HOST, State
from benchmarks.stores import BUCKET, PROJECT

_ACCOUNT = "/computeMetadata/v1/instance/service-accounts/default"
_JSON = "application/json"
_METADATA = {
    "/": ("text/plain", ""),
    "/computeMetadata/v1/project/project-id": ("text/plain", PROJECT),
    f"{_ACCOUNT}/": (_JSON, json.dumps({"email": "default", "scopes": [], "aliases": []})),
    f"{_ACCOUNT}/token": (
        _JSON,
        json.dumps({"access_token": "loopback", "expires_in": 36_000, "token_type": "Bearer"}),
    ),
}


def main() -> None:
    """Serves until stdin ends."""
    # The emulator has one thread; connections that overflow a queue of 5 would wait for seconds.
    HTTPServer.request_queue_size = 1024
    with socket.socket() as free:
        free.bind((HOST, 0))
        port = free.getsockname()[1]
    with create_server(HOST, port, in_memory=True, default_bucket=BUCKET):
        asyncio.run(_serve(port))


async def _serve(storage_port: int) -> None:
    server = await asyncio.start_server(_answer, HOST, 0)
    await State().obey(storage_port, server.sockets[0].getsockname()[1])


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
        head = await reader.readuntil(b"\r\n\r\n")
        path = head.split()[1].decode().partition("?")[0]
        status = "200 OK" if path in _METADATA else "404 Not Found"
        kind, body = _METADATA.get(path, ("text/plain", ""))
        writer.write(
            f"HTTP/1.1 {status}\r\nMetadata-Flavor: Google\r\nContent-Type: {kind}\r\n"
            f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n{body}".encode()
        )
        await writer.drain()
    writer.close()


if __name__ == "__main__":
    main()
