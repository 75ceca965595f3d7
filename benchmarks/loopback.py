"""Servers on loopback that answer late, each a process that tells its own cost.

They share the machine with what is measured, so they do little: the files are in memory with
their headers, and connections stay open.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import dataclasses
import json
import pathlib
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from types import TracebackType

HOST = "127.0.0.1"
_NOT_FOUND = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"
_NUMBER = re.compile(rb"GET /(\d+) HTTP/1\.1\r\n")
# A late answer waits in the proxy and never in the server, which may have only one thread.
_WAITING_BYTES = 64 * 2**20


@dataclasses.dataclass(frozen=True)
class Counters:
    """The work of a server so far.

    Attributes:
      requests: The number of answers that it gave.
      connections: The number of connections that it took.
      cpu_seconds: The processor time that it took.
    """

    requests: int
    connections: int
    cpu_seconds: float


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
        """Makes a server whose /N is file N of a list of paths, which begins again at its end."""
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

    async def obey(self, *ports: int) -> None:
        """Prints the ports; then answers each line, a delay, with the counters until then."""
        print(json.dumps(ports), flush=True)
        reader = asyncio.StreamReader()
        await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), sys.stdin
        )
        while line := await reader.readline():
            counters = Counters(self.requests, self.connections, time.process_time())
            self.delay = float(line) / 1000
            print(json.dumps(dataclasses.asdict(counters)), flush=True)


class _Files(asyncio.Protocol):
    """A connection to a server of files."""

    def __init__(self, state: State, answers: Sequence[bytes]) -> None:
        self._state = state
        self._answers = answers
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._state.connections += 1

    def data_received(self, data: bytes) -> None:
        self._received += data
        while (end := self._received.find(b"\r\n\r\n")) >= 0:
            found = _NUMBER.match(self._received)
            self._received = self._received[end + 4 :]
            self._state.requests += 1
            answer = self._answers[int(found[1]) % len(self._answers)] if found else _NOT_FOUND
            if self._state.delay:
                asyncio.get_running_loop().call_later(self._state.delay, self._send, answer)
            else:
                self._send(answer)

    def _send(self, answer: bytes) -> None:
        if not self._transport.is_closing():
            self._transport.write(answer)


async def _serve_files(paths: Sequence[str]) -> None:
    state = State()
    bodies = [pathlib.Path(path).read_bytes() for path in paths]
    answers = [b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(b), b) for b in bodies]
    server = await asyncio.get_running_loop().create_server(
        lambda: _Files(state, answers), HOST, 0, backlog=1024
    )
    await state.obey(server.sockets[0].getsockname()[1])


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
