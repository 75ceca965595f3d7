"""The child processes that decode for this one, kept warm."""

from __future__ import annotations

import atexit
import os
import threading
import time
import weakref

from image_features.transforms.images.decode_error import DecodeError
from image_features.transforms.images.launched_child import (
    SHORTAGES,
    ChildCrashedError,
    LaunchedChild,
    too_slow,
)
from image_features.transforms.images.picture import Pixels
from image_features.transforms.images.policy import DecodePolicy
from image_features.transforms.values import Reason

_ATTEMPTS = 2  # The message says it in a word.
# That a system lacks something now says nothing about an image, and passes.
_SHORTAGE_SECONDS = 60.0
_SECONDS_TO_ANOTHER_TRY = 0.2


class _Children:
    """The children that wait for work. There are as many as threads have asked at once."""

    def __init__(self) -> None:
        self._idle: list[LaunchedChild] = []
        self._all: weakref.WeakSet[LaunchedChild] = weakref.WeakSet()
        self._lock = threading.Lock()

    def decode(self, data: bytes, policy: DecodePolicy) -> Pixels:
        """Decodes a file in a child; see `decode_in_child`."""
        left = policy.timeout
        for attempt in range(_ATTEMPTS):
            child = self._take(warm=attempt == 0)
            start = time.monotonic()
            try:
                return child.decode(data, policy, left)
            except ChildCrashedError as error:
                crash = error
            finally:
                self._keep(child)
            # All attempts share the time: a bundle waits no longer for a file.
            left -= time.monotonic() - start
            if left <= 0:
                raise too_slow(policy)
        raise DecodeError(
            Reason.DECODER_CRASHED,
            f"The decoder has ended twice on the image, the last time {crash}.",
        )

    def end(self) -> None:
        """Ends the children that wait."""
        while child := self._idle_one():
            child.close()

    def forget(self) -> None:
        """Lets go of all children, in a fork of the process whose they are."""
        for child in tuple(self._all):
            child.forget()

    def _take(self, *, warm: bool) -> LaunchedChild:
        """Returns a child that waits, or one that is new.

        Raises:
          DecodeError: none can be started.
        """
        end = time.monotonic() + _SHORTAGE_SECONDS
        while True:
            if warm and (child := self._idle_one()):
                return child
            try:
                child = LaunchedChild()
            except OSError as error:
                if error.errno not in SHORTAGES or time.monotonic() > end:
                    raise DecodeError(
                        Reason.DECODER_UNAVAILABLE,
                        f"The process that decodes images of this kind does not start: {error}.",
                    ) from error
            else:
                self._all.add(child)
                return child
            warm = True  # Another thread may have done with one.
            time.sleep(_SECONDS_TO_ANOTHER_TRY)

    def _idle_one(self) -> LaunchedChild | None:
        while True:
            with self._lock:
                if not self._idle:
                    return None
                child = self._idle.pop()
            if child.lives:
                return child
            child.close()

    def _keep(self, child: LaunchedChild) -> None:
        """Keeps a child that waits; ends one that hangs, or whose caller was interrupted."""
        if not child.is_idle:
            child.close()
            return
        with self._lock:
            self._idle.append(child)


_children = _Children()


def decode_in_child(data: bytes, policy: DecodePolicy) -> Pixels:
    """Decodes a file in a child process, and once more in another where that has crashed.

    Raises:
      DecodeError: the file gives no pixels, whatever is wrong with it or whatever it does.
    """
    _count.jobs = jobs_of_this_thread() + 1
    return _children.decode(data, policy)


def jobs_of_this_thread() -> int:
    """Returns how many files the calling thread has given to children."""
    return getattr(_count, "jobs", 0)


def end_children() -> None:
    """Ends the children that have nothing to do; later files have new ones."""
    _children.end()


_count = threading.local()


def _renew() -> None:
    global _children
    _children.forget()
    _children = _Children()


# The children of a process are not its fork's, which must not keep their sockets open either.
os.register_at_fork(after_in_child=_renew)
atexit.register(end_children)
