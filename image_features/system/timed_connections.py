"""Connections over http(s) that keep to the deadline of the thread that uses them."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import Any

from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import ConnectTimeoutError, NewConnectionError

from image_features.system.deadlines import Deadline
from image_features.system.timed_sockets import TimedSocket, connect


class DeadlineError(Exception):
    """The deadline had passed before anything was begun; urllib3 does not try again after this."""


class Terms(threading.local):
    """What the request that a thread is about to make must keep to.

    Attributes:
      deadline: The end of the request.
      fresh: Whether it needs a connection of its own.
      reused: Whether it was given one that had been used before.
    """

    deadline: Deadline
    fresh = False
    reused = False


TERMS = Terms()


@contextlib.contextmanager
def terms(deadline: Deadline, *, fresh: bool = False) -> Iterator[Terms]:
    """Sets what the requests of this thread must keep to."""
    TERMS.deadline, TERMS.fresh, TERMS.reused = deadline, fresh, False
    yield TERMS


class TimedMixin:
    """Connects in time, and hands the deadline to the socket.

    Attributes:
      check: Refuses addresses that must not be reached (see `timed_sockets.connect`).
      make_room: Closes what is not needed where too many files are open.
    """

    check: Callable[[str, str], None] | None = None
    make_room: Callable[[], None] | None = None

    def _new_conn(self: Any) -> TimedSocket:
        if TERMS.deadline.left() <= 0:
            raise DeadlineError("the deadline has passed")
        try:
            return connect(
                self._dns_host.strip("[]"),
                self.port,
                check=type(self).check,
                make_room=type(self).make_room,
                patience=self.timeout,
                deadline=TERMS.deadline,
            )
        except TimeoutError as error:
            raise ConnectTimeoutError(self, "connecting took too long") from error
        except OSError as error:  # As it is, urllib3 would ignore some.
            raise NewConnectionError(self, "no connection") from error

    def getresponse(self: Any) -> Any:
        self.sock.deadline, self.sock.patience = TERMS.deadline, self.timeout
        return super().getresponse()  # type: ignore[misc]


class TimedHttp(TimedMixin, HTTPConnection):
    """A connection over http."""


class TimedHttps(TimedMixin, HTTPSConnection):
    """A connection over https."""
