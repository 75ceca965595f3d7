"""Connections that reach public addresses only, and end at their deadline."""

from __future__ import annotations

import contextlib
import ipaddress
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import ConnectTimeoutError, NameResolutionError, NewConnectionError

# These addresses embed an IPv4 one, which is what is really reached: RFC 6052, RFC 3056.
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_SIX_TO_FOUR = ipaddress.ip_network("2002::/16")


class BlockedHostError(Exception):
    """A host resolves to an address that must not be reached."""


def is_public(address: str) -> bool:
    """Whether an IP address is on the public internet, by RFC 6890 and its updates."""
    ip = ipaddress.ip_address(address.split("%", 1)[0])
    if isinstance(ip, ipaddress.IPv6Address):
        inner = ip.ipv4_mapped
        if ip in _NAT64:
            inner = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        elif ip in _SIX_TO_FOUR:
            inner = ip.sixtofour
        if inner is not None:
            return is_public(str(inner))
    return ip.is_global and not ip.is_multicast and not ip.is_reserved


def _connect(connection: Any, *, guarded: bool) -> socket.socket:
    """Resolves, checks and connects in one step, so that what was checked is what is reached."""
    host = connection._dns_host.strip("[]")
    try:
        found = socket.getaddrinfo(host, connection.port, 0, socket.SOCK_STREAM)
    except (socket.gaierror, UnicodeError) as error:
        raise NameResolutionError(host, connection, error) from error  # type: ignore[arg-type]
    problem: OSError | None = None
    for family, kind, protocol, _, address in found:
        if guarded and not is_public(str(address[0])):
            raise BlockedHostError(f"{host} is at {address[0]}, which is not a public address")
        sock = socket.socket(family, kind, protocol)
        try:
            sock.settimeout(connection.timeout)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.connect(address)
            return sock
        except OSError as error:
            problem = error
            sock.close()
    if isinstance(problem, TimeoutError):
        raise ConnectTimeoutError(connection, "connecting took too long")
    raise NewConnectionError(connection, f"cannot connect: {problem}")


class _TimedMixin:
    """Checks the address on connecting, and keeps the deadline while headers arrive."""

    guarded = True

    def _new_conn(self) -> socket.socket:
        return _connect(self, guarded=self.guarded)

    def getresponse(self) -> Any:
        ticket = WATCHDOG.guard(current.deadline, lambda: shut(self))
        try:
            return super().getresponse()  # type: ignore[misc]
        finally:
            WATCHDOG.release(ticket)


class _Http(_TimedMixin, HTTPConnection):
    pass


class _Https(_TimedMixin, HTTPSConnection):
    pass


class _OpenHttp(_Http):
    guarded = False


class _OpenHttps(_Https):
    guarded = False


class _HttpPool(urllib3.HTTPConnectionPool):
    ConnectionCls = _Http


class _HttpsPool(urllib3.HTTPSConnectionPool):
    ConnectionCls = _Https


class _OpenHttpPool(urllib3.HTTPConnectionPool):
    ConnectionCls = _OpenHttp


class _OpenHttpsPool(urllib3.HTTPSConnectionPool):
    ConnectionCls = _OpenHttps


def shut(holder: Any) -> None:
    """Ends a connection or an answer from another thread, so that its reader wakes."""
    sock = getattr(holder, "sock", None) or getattr(
        getattr(holder, "connection", None), "sock", None
    )
    if sock is not None:
        with contextlib.suppress(OSError):
            sock.shutdown(socket.SHUT_RDWR)


class Watchdog:
    """Shuts the sockets of attempts that outlive their deadline.

    Timeouts of sockets start anew with every byte, so that a server that drips its headers would
    hold a thread for hours. One thread watches over all fetches of the process.
    """

    def __init__(self) -> None:
        self._deadlines: dict[int, tuple[float, Callable[[], None]]] = {}
        self._wake = threading.Condition()
        self._thread: threading.Thread | None = None
        self._next = 0

    def guard(self, deadline: float, stop: Callable[[], None]) -> int:
        """Calls `stop` once `deadline` (of time.monotonic) has passed; returns a ticket."""
        with self._wake:
            self._next += 1
            self._deadlines[self._next] = (deadline, stop)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, daemon=True)
                self._thread.start()
            return self._next

    def release(self, ticket: int) -> None:
        """Forgets a ticket."""
        with self._wake:
            self._deadlines.pop(ticket, None)

    def _run(self) -> None:
        while True:
            with self._wake:
                self._wake.wait(0.25)
                now = time.monotonic()
                late = [t for t, (deadline, _) in self._deadlines.items() if deadline < now]
                stops = [self._deadlines.pop(ticket)[1] for ticket in late]
            for stop in stops:
                stop()


WATCHDOG = Watchdog()
# Each thread sets the deadline of its attempt here, as `current.deadline`.
current = threading.local()


def pool_classes(*, allow_private_hosts: bool) -> dict[str, Any]:
    """Returns the connection pools by scheme, for urllib3.PoolManager.pool_classes_by_scheme."""
    if allow_private_hosts:
        return {"http": _OpenHttpPool, "https": _OpenHttpsPool}
    return {"http": _HttpPool, "https": _HttpsPool}
