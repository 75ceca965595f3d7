"""Connections over http(s): how they keep to a deadline, and which are kept open."""

from __future__ import annotations

import contextlib
import functools
import http.client
import re
import ssl
import threading
from collections import OrderedDict
from collections.abc import Hashable, Iterator
from typing import Any

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import ConnectTimeoutError, NewConnectionError
from urllib3.util.ssl_ import create_urllib3_context

from image_features.descriptors import fetches_at_once
from image_features.transforms.stores.deadlines import Deadline
from image_features.transforms.stores.http_guard import TimedSocket, connect

_MOST_INTERIM_ANSWERS = 20
# A line that begins with a space goes on with the field before it.
_FIELD = re.compile(rb"[!-9;-~]+[ \t]*:|[ \t]")


class _Terms(threading.local):
    """What the request that a thread is about to make must keep to.

    Attributes:
      deadline: The end of the request.
      fresh: Whether it needs a connection of its own.
      reused: Whether it was given one that had been used before.
    """

    deadline: Deadline
    fresh = False
    reused = False


_terms = _Terms()


@contextlib.contextmanager
def terms(deadline: Deadline, *, fresh: bool) -> Iterator[_Terms]:
    """Sets what the requests of this thread must keep to."""
    _terms.deadline, _terms.fresh, _terms.reused = deadline, fresh, False
    yield _terms


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
        if not _is_silent(connection):
            connection.close()
            return
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


class _TimedTls(ssl.SSLSocket):
    """A TimedSocket within TLS, which makes it by itself."""

    deadline: Deadline | None = None
    patience: float = 0.0

    def recv_into(self, *args: Any, **kwargs: Any) -> int:
        if self.deadline is not None:
            self.settimeout(self.deadline.at_most(self.patience))
        return super().recv_into(*args, **kwargs)


@functools.cache
def _tls() -> ssl.SSLContext:
    """Returns what all connections share: reading the authorities takes 20 ms."""
    context = create_urllib3_context()
    context.load_default_certs()
    context.sslsocket_class = _TimedTls
    return context


class _Fields:
    """The lines of an answer's head, without those that are no header fields.

    Python would take the first of these for the end of the head, and never see what follows, such
    as the length of the body.
    """

    def __init__(self, lines: Any) -> None:
        self.lines = lines

    def readline(self, limit: int = -1, /) -> bytes:
        while True:
            line: bytes = self.lines.readline(limit)
            if not line.strip() or _FIELD.match(line):
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


class _TimedMixin:
    """Checks the address on connecting, and hands the deadline to the socket."""

    guarded = True
    response_class: Any = _Answer

    def _new_conn(self: Any) -> TimedSocket:
        try:
            return connect(
                self._dns_host.strip("[]"),
                self.port,
                guarded=self.guarded,
                patience=self.timeout,
                deadline=_terms.deadline,
            )
        except TimeoutError as error:
            raise ConnectTimeoutError(self, "connecting took too long") from error
        except OSError as error:  # As it is, urllib3 would ignore some.
            raise NewConnectionError(self, "no connection") from error

    def getresponse(self: Any) -> Any:
        self.sock.deadline, self.sock.patience = _terms.deadline, self.timeout
        return super().getresponse()  # type: ignore[misc]


class _Http(_TimedMixin, HTTPConnection):
    pass


class _Https(_TimedMixin, HTTPSConnection):
    pass


class _OpenHttp(_Http):
    guarded = False


class _OpenHttps(_Https):
    guarded = False


class _SharingMixin:
    """A pool that keeps its connections with those of all other hosts."""

    def _get_conn(self: Any, timeout: float | None = None) -> Any:
        found = None if _terms.fresh else IDLE.take(self._key)
        _terms.reused = found is not None
        return found or self._new_conn()

    def _put_conn(self: Any, conn: Any) -> None:
        if conn is not None:
            IDLE.give(self._key, conn)

    @property
    def _key(self: Any) -> Hashable:
        return self.ConnectionCls, self.host, self.port


class _HttpPool(_SharingMixin, urllib3.HTTPConnectionPool):
    ConnectionCls = _Http


class _HttpsPool(_SharingMixin, urllib3.HTTPSConnectionPool):
    ConnectionCls = _Https


class _OpenHttpPool(_SharingMixin, urllib3.HTTPConnectionPool):
    ConnectionCls = _OpenHttp


class _OpenHttpsPool(_SharingMixin, urllib3.HTTPSConnectionPool):
    ConnectionCls = _OpenHttps


def pools(*, allow_private_hosts: bool) -> urllib3.PoolManager:
    """Returns connections by their hosts."""
    manager = urllib3.PoolManager(num_pools=64, ssl_context=_tls())
    if allow_private_hosts:
        manager.pool_classes_by_scheme = {"http": _OpenHttpPool, "https": _OpenHttpsPool}
    else:
        manager.pool_classes_by_scheme = {"http": _HttpPool, "https": _HttpsPool}
    return manager
