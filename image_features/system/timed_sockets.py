"""Sockets that are connected, read and given up in time."""

from __future__ import annotations

import functools
import socket
import ssl
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

from urllib3.util.ssl_ import create_urllib3_context

from image_features.system import descriptors
from image_features.system.deadlines import Deadline

Out = TypeVar("Out")

# A lookup cannot be interrupted. Those that hang hold no more threads than these.
_LOOKUPS = threading.BoundedSemaphore(64)


class UnknownHostError(OSError):
    """A host has no address."""


class _TimedMixin:
    """Data is waited for until a deadline, however often some comes.

    A timeout of sockets begins anew with every byte, so that a server that drips its headers or its
    body would hold a thread for hours.

    Attributes:
      deadline: The end of all waits; None for no end.
      patience: The most seconds that one wait may take.
    """

    deadline: Deadline | None = None
    patience: float = 0.0

    def recv_into(self: Any, *args: Any, **kwargs: Any) -> int:
        if self.deadline is not None:
            self.settimeout(self.deadline.at_most(self.patience))
        return super().recv_into(*args, **kwargs)  # type: ignore[misc]


class TimedSocket(_TimedMixin, socket.socket):
    """A socket that keeps a deadline."""


class TimedTls(_TimedMixin, ssl.SSLSocket):
    """The same within TLS, which makes it by itself."""


@functools.cache
def tls() -> ssl.SSLContext:
    """Returns what all connections share: reading the authorities takes 20 ms."""
    context = create_urllib3_context()
    context.load_default_certs()
    context.sslsocket_class = TimedTls
    return context


def connect(
    host: str,
    port: int,
    *,
    patience: float,
    deadline: Deadline,
    check: Callable[[str, str], None] | None = None,
    make_room: Callable[[], None] | None = None,
) -> TimedSocket:
    """Resolves, checks and connects in one step, so that what was checked is what is reached.

    Args:
      host: The name or address.
      port: The port.
      patience: The most seconds that connecting may take, all addresses of the host together.
      deadline: The end of everything.
      check: Raises what it likes at a host and an address that must not be reached; None for none.
      make_room: Closes what is not needed, where too many files are open; None for nothing.

    Raises:
      UnknownHostError: the host has no address.
      TimeoutError: it took too long.
      OSError: no address can be connected to; the error is that of the last one.
    """
    found = _with_room(lambda: _addresses(host, port, deadline), deadline, make_room)
    ends = Deadline(deadline.at_most(patience))
    problem: OSError = UnknownHostError(f"{host} has no address")
    for number, (*kind, _, address) in enumerate(found, 1):
        if check is not None:
            check(host, str(address[0]))
        if ends.left() <= 0:
            raise TimeoutError("connecting took too long")
        sock = _with_room(functools.partial(TimedSocket, *kind), ends, make_room)
        try:
            # The first ones may be dead, so that they must leave time to the others.
            left = ends.at_most(patience)
            sock.settimeout(left if number == len(found) else left / 2)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.connect(address)
            sock.settimeout(deadline.at_most(patience))  # This is for the handshake of TLS.
            return sock
        except OSError as error:
            problem = error
            sock.close()
    raise problem


def _with_room(
    action: Callable[[], Out], ends: Deadline, make_room: Callable[[], None] | None
) -> Out:
    """Does what needs a descriptor, if need be as soon as another file has been closed."""
    while True:
        try:
            return action()
        except OSError as error:
            if not descriptors.has_none(error) or ends.left() <= descriptors.SECONDS_OF_A_WAIT:
                raise
        if make_room is not None:
            make_room()
        time.sleep(descriptors.SECONDS_OF_A_WAIT)


def _addresses(host: str, port: int, deadline: Deadline) -> list[Any]:
    """Resolves a host in a thread of its own, which is left behind when it takes too long."""
    try:
        return socket.getaddrinfo(host, port, 0, socket.SOCK_STREAM, 0, socket.AI_NUMERICHOST)
    except (socket.gaierror, UnicodeError):
        pass  # It is a name.
    answer: Future[list[Any]] = Future()

    def look_up() -> None:
        try:
            answer.set_result(socket.getaddrinfo(host, port, 0, socket.SOCK_STREAM))
        except BaseException as error:
            answer.set_exception(error)
        finally:
            _LOOKUPS.release()

    if not _LOOKUPS.acquire(timeout=deadline.at_most(deadline.seconds)):
        raise TimeoutError("other names are still being looked up")
    try:
        threading.Thread(target=look_up, name="lookup", daemon=True).start()
    except RuntimeError:
        _LOOKUPS.release()
        raise
    try:
        return answer.result(max(0.0, deadline.left()))
    except (socket.gaierror, UnicodeError) as error:
        raise UnknownHostError(f"{host} has no address: {error}") from error
