"""Servers on loopback that answer late, each a process that tells its own cost.

They share the machine with what is measured, so they do little: the files are mapped to memory,
and connections stay open.
"""

from __future__ import annotations

import argparse
import asyncio
import collections
import contextlib
import dataclasses
import json
import mmap
import pathlib
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from types import TracebackType

HOST = "127.0.0.1"
_NOT_FOUND = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"
_REQUEST = re.compile(rb"(GET|HEAD) /(\d+)(?:/\S*)? HTTP/1\.1\r\n")
_RANGE = re.compile(rb"\r\nRange: *bytes=(\d*)-(\d*)\r\n", re.IGNORECASE)
# A body goes to its socket in blocks of this size, so that a large one is copied nowhere else.
_BLOCK = 2**18
# A late answer waits in the proxy and never in the server, which may have only one thread.
_WAITING_BYTES = 64 * 2**20


@dataclasses.dataclass(frozen=True)
class Counters:
    """The work of a server so far.

    Attributes:
      requests: The number of answers that it gave.
      connections: The number of connections that it took.
      cpu_seconds: The processor time that it took.
      sent: The number of bytes that it sent, headers included.
    """

    requests: int = 0
    connections: int = 0
    cpu_seconds: float = 0.0
    sent: int = 0

    def since(self, before: Counters) -> Counters:
        """Returns the work between two looks."""
        return Counters(
            self.requests - before.requests,
            self.connections - before.connections,
            self.cpu_seconds - before.cpu_seconds,
            self.sent - before.sent,
        )


class Server:
    """A server in a process of its own, which ends with the block and with this process.

    Attributes:
      ports: The ports that it listens on.
    """

    def __init__(self, module: str, *arguments: str) -> None:
        """Takes a module that calls `State.obey`, and the arguments of that module."""
        self._command = [sys.executable, "-m", module, *arguments]
        self.ports: list[int] = []

    @classmethod
    def of_files(cls, listed: pathlib.Path) -> Server:
        """Makes a server of a list of paths: /N, or /N/NAME for any name, is file N.

        The list begins again at its end. Parts of files are sent to who asks for a range.
        """
        return cls(__spec__.name, f"--files={listed}")

    @classmethod
    def proxy(cls, upstream: int) -> Server:
        """Makes a server that passes on what a port answers."""
        return cls(__spec__.name, f"--upstream={upstream}")

    def __enter__(self) -> Server:
        self._process = subprocess.Popen(
            self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        try:
            self.ports = json.loads(self._answer())
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._end()

    def _end(self) -> None:
        assert self._process.stdin and self._process.stdout
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()

    @property
    def url(self) -> str:
        """The address of the server."""
        return f"http://{HOST}:{self.ports[0]}"

    def delay(self, milliseconds: float) -> Counters:
        """Sets how late answers begin from now on; returns what was done until now."""
        assert self._process.stdin
        self._process.stdin.write(f"{milliseconds}\n")
        self._process.stdin.flush()
        return Counters(**json.loads(self._answer()))

    def _answer(self) -> str:
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"The server {' '.join(self._command)} ended early.")
        return line


class State:
    """The state that the connections of one server share."""

    def __init__(self) -> None:
        self.delay = 0.0
        self.requests = 0
        self.connections = 0
        self.sent = 0

    async def obey(self, *ports: int) -> None:
        """Prints the ports; then answers each line, a delay, with the counters until then."""
        print(json.dumps(ports), flush=True)
        reader = asyncio.StreamReader()
        await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), sys.stdin
        )
        while line := await reader.readline():
            counters = Counters(self.requests, self.connections, time.process_time(), self.sent)
            self.delay = float(line) / 1000
            print(json.dumps(dataclasses.asdict(counters)), flush=True)


class _Files(asyncio.Protocol):
    """A connection to a server of files."""

    def __init__(self, state: State, files: Sequence[mmap.mmap]) -> None:
        self._state = state
        self._files = files
        self._received = b""
        self._waiting: collections.deque[memoryview] = collections.deque()
        self._paused = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._state.connections += 1

    def data_received(self, data: bytes) -> None:
        self._received += data
        while (end := self._received.find(b"\r\n\r\n")) >= 0:
            head, self._received = self._received[: end + 2], self._received[end + 4 :]
            self._state.requests += 1
            answer = self._answer(head)
            if self._state.delay:
                asyncio.get_running_loop().call_later(self._state.delay, self._send, *answer)
            else:
                self._send(*answer)

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        self._send()

    def connection_lost(self, exc: Exception | None) -> None:
        self._waiting.clear()

    def _answer(self, head: bytes) -> tuple[bytes | memoryview, ...]:
        found = _REQUEST.match(head)
        if not found:
            return (_NOT_FOUND,)
        number = int(found[2]) % len(self._files)
        body = memoryview(self._files[number])
        size, status, told = len(body), b"200 OK", b""
        if asked := _RANGE.search(head):
            first, last = _span(asked[1], asked[2], size)
            body = body[first : last + 1]
            status = b"206 Partial Content" if body else b"416 Range Not Satisfiable"
            told = b"bytes %d-%d/%d" % (first, last, size) if body else b"bytes */%d" % size
            told = b"Content-Range: %s\r\n" % told
        # The files stay as they are, so that a number is as good as any other tag of a version.
        headers = (
            b'HTTP/1.1 %s\r\nAccept-Ranges: bytes\r\nETag: "%d"\r\n%sContent-Length: %d\r\n\r\n'
        )
        headers %= (status, number, told, len(body))
        if found[1] == b"HEAD":
            return (headers,)
        return (headers + body,) if len(body) <= _BLOCK else (headers, body)

    def _send(self, *parts: bytes | memoryview) -> None:
        """Adds to what is to be sent, and sends of it what the socket takes."""
        self._waiting.extend(memoryview(part) for part in parts)
        while self._waiting and not self._paused and not self._transport.is_closing():
            part = self._waiting.popleft()
            if len(part) > 2 * _BLOCK:
                self._waiting.appendleft(part[_BLOCK:])
                part = part[:_BLOCK]
            self._state.sent += len(part)
            self._transport.write(part)


def _span(first: bytes, last: bytes, size: int) -> tuple[int, int]:
    """Returns the first and the last byte that a range of a file names."""
    if not first:
        return max(0, size - int(last or b"0")), size - 1
    return int(first), min(int(last), size - 1) if last else size - 1


async def _serve_files(paths: Sequence[str]) -> None:
    state = State()
    files = [_mapped(path) for path in paths]
    server = await asyncio.get_running_loop().create_server(
        lambda: _Files(state, files), HOST, 0, backlog=1024
    )
    await state.obey(server.sockets[0].getsockname()[1])


def _mapped(path: str) -> mmap.mmap:
    with open(path, "rb") as file:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


class _Exchange:
    """A connection through the proxy, which passes requests at once and answers late."""

    def __init__(self, state: State, upstream: int) -> None:
        self._state = state
        self._upstream = upstream
        self._due = 0.0
        self._asking = False

    async def run(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._state.connections += 1
        above_reader, above_writer = await asyncio.open_connection(
            HOST, self._upstream, limit=_WAITING_BYTES
        )
        await asyncio.gather(self._ask(reader, above_writer), self._reply(above_reader, writer))

    async def _ask(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError), contextlib.closing(writer):
            while data := await reader.read(2**16):
                self._state.requests += not self._asking
                self._asking = True
                self._due = asyncio.get_running_loop().time() + self._state.delay
                writer.write(data)
                await writer.drain()

    async def _reply(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError), contextlib.closing(writer):
            while data := await reader.read(2**20):
                # Only the beginning of an answer is late; the rest is due by then.
                await asyncio.sleep(max(0.0, self._due - asyncio.get_running_loop().time()))
                self._asking = False
                self._state.sent += len(data)
                writer.write(data)
                await writer.drain()


async def _serve_proxy(upstream: int) -> None:
    state = State()
    server = await asyncio.start_server(
        lambda reader, writer: _Exchange(state, upstream).run(reader, writer),
        HOST,
        0,
        backlog=1024,
    )
    await state.obey(server.sockets[0].getsockname()[1])


def main() -> None:
    """Serves until stdin ends."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    kind = parser.add_mutually_exclusive_group(required=True)
    kind.add_argument("--files", type=pathlib.Path)
    kind.add_argument("--upstream", type=int)
    options = parser.parse_args()
    if options.files:
        asyncio.run(_serve_files(options.files.read_text().splitlines()))
    else:
        asyncio.run(_serve_proxy(options.upstream))


if __name__ == "__main__":
    main()
