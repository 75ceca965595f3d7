"""Connections over http(s): how they keep to a deadline, and which are kept open."""

from __future__ import annotations

import http.client
import re
import threading
from collections import OrderedDict
from collections.abc import Hashable
from typing import Any

import urllib3

from image_features.system.descriptors import fetches_at_once
from image_features.system.timed_connections import TERMS, TimedHttp, TimedHttps
from image_features.system.timed_sockets import tls
from image_features.transforms.stores.http_guard import check_public

_MOST_INTERIM_ANSWERS = 20
_LONGEST_HEAD = 2**20
_FIELD = re.compile(rb"([!-9;-~]+)[ \t]*:|[ \t]")
_USED = frozenset(
    [
        b"accept-ranges",
        b"connection",
        b"content-encoding",
        b"content-length",
        b"content-range",
        b"etag",
        b"last-modified",
        b"location",
        b"retry-after",
        b"set-cookie",
        b"transfer-encoding",
    ]
)


class IdleConnections:
    """The connections of all hosts that wait for a further request, bounded in number.

    A process has one of these. Whoever fetches from ten thousand hosts would hold ten thousand
    connections otherwise. The host that was used least recently loses its own first.

    Args:
      limit: The most connections; None for as many as there are descriptors for.
    """

    def __init__(self, limit: int | None = None) -> None:
        self._limit = limit
        self._hosts: OrderedDict[Hashable, list[Any]] = OrderedDict()
        self._count = 0
        self._lock = threading.Lock()

    def take(self, host: Hashable) -> Any:
        """Returns a connection to a host that its server has not closed; None if there is none."""
        while True:
            with self._lock:
                waiting = self._hosts.get(host)
                if not waiting:
                    return None
                connection = waiting.pop()
                self._count -= 1
                if not waiting:
                    del self._hosts[host]
            if _is_silent(connection):
                return connection
            connection.close()

    def give(self, host: Hashable, connection: Any) -> None:
        """Keeps a connection whose answer was read to its end, or closes it."""
        if connection.sock is None:
            return  # The server wanted it closed.
        late = []
        with self._lock:
            self._hosts.setdefault(host, []).append(connection)
            self._hosts.move_to_end(host)
            self._count += 1
            limit = fetches_at_once() if self._limit is None else self._limit
            while self._count > limit:
                name, waiting = next(iter(self._hosts.items()))
                late.append(waiting.pop(0))
                self._count -= 1
                if not waiting:
                    del self._hosts[name]
        for connection in late:
            connection.close()

    def close(self) -> None:
        """Closes all of them; others may come."""
        with self._lock:
            late = [connection for waiting in self._hosts.values() for connection in waiting]
            self._hosts.clear()
            self._count = 0
        for connection in late:
            connection.close()

    def __len__(self) -> int:
        return self._count


IDLE = IdleConnections()


def _is_silent(connection: Any) -> bool:
    """Whether a connection is open, and its server has sent nothing that was not asked for."""
    if not connection.is_connected:
        return False
    pending = getattr(connection.sock, "pending", None)
    return pending is None or not pending()


class _Fields:
    """The lines of an answer's head, of which only the fields that are used are given on.

    Python gives up at the hundredth field and at a long one, and takes a line that is no field for
    the end of the head, so that it never sees the length of the body. A head has no end, too, where
    a server means ill.
    """

    def __init__(self, lines: Any) -> None:
        self.lines = lines
        self._size = 0
        self._is_used = False

    def readline(self, limit: int = -1, /) -> bytes:
        while True:
            line: bytes = self.lines.readline(limit)
            end = line
            while len(end) == limit and not end.endswith(b"\n"):
                end = self._counted(self.lines.readline(limit))
            self._counted(line)
            if not line.strip():
                return line
            if field := _FIELD.match(line):
                # A line that begins with a space goes on with the field before it.
                self._is_used = self._is_used if field[1] is None else field[1].lower() in _USED
                if self._is_used:
                    return line

    def _counted(self, line: bytes) -> bytes:
        self._size += len(line)
        if self._size > _LONGEST_HEAD:
            raise http.client.LineTooLong("head")
        return line


class _Answer(http.client.HTTPResponse):
    """An answer after those that only announce it, such as 103 Early Hints."""

    def begin(self) -> None:
        try:
            super().begin()
        finally:
            if isinstance(self.fp, _Fields):
                self.fp = self.fp.lines

    def _read_status(self) -> tuple[str, int, str]:
        for _ in range(_MOST_INTERIM_ANSWERS):
            found: tuple[str, int, str] = super()._read_status()  # type: ignore[misc]
            if not 100 <= found[1] < 200 or found[1] == http.HTTPStatus.SWITCHING_PROTOCOLS:
                self.fp: Any = _Fields(self.fp)
                return found
            http.client.parse_headers(_Fields(self.fp))
        raise http.client.HTTPException("too many interim answers")


class _OpenHttp(TimedHttp):
    response_class = _Answer
    make_room = staticmethod(IDLE.close)


class _OpenHttps(TimedHttps):
    response_class = _Answer
    make_room = staticmethod(IDLE.close)


class _Http(_OpenHttp):
    check = staticmethod(check_public)


class _Https(_OpenHttps):
    check = staticmethod(check_public)


class _SharingMixin:
    """A pool that keeps its connections with those of all other hosts."""

    def _get_conn(self: Any, timeout: float | None = None) -> Any:
        found = None if TERMS.fresh else IDLE.take(self._key)
        TERMS.reused = found is not None
        return found or self._new_conn()

    def _put_conn(self: Any, conn: Any) -> None:
        if conn is not None:
            IDLE.give(self._key, conn)

    @property
    def _key(self: Any) -> Hashable:
        return self.ConnectionCls, self.host, self.port


class _HttpPool(_SharingMixin, urllib3.HTTPConnectionPool):
    ConnectionCls: Any = _Http


class _HttpsPool(_SharingMixin, urllib3.HTTPSConnectionPool):
    ConnectionCls: Any = _Https

    def __init__(self, host: str, port: int | None = None, **options: Any) -> None:
        # Most runs need it never, and reading the authorities takes its time.
        super().__init__(host, port, ssl_context=tls(), **options)


class _OpenHttpPool(_HttpPool):
    ConnectionCls = _OpenHttp


class _OpenHttpsPool(_HttpsPool):
    ConnectionCls = _OpenHttps


def pools(*, allow_private_hosts: bool) -> urllib3.PoolManager:
    """Returns connections by their hosts."""
    manager = urllib3.PoolManager(num_pools=64)
    if allow_private_hosts:
        manager.pool_classes_by_scheme = {"http": _OpenHttpPool, "https": _OpenHttpsPool}
    else:
        manager.pool_classes_by_scheme = {"http": _HttpPool, "https": _HttpsPool}
    return manager
