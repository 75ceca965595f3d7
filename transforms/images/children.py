"""The child processes that decode for this one, kept warm, and ended where they hang."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import threading
import time

import numpy as np

from image_features.transforms.images.child import receive, send
from image_features.transforms.images.decode_error import DecodeError
from image_features.transforms.images.picture import Pixels
from image_features.transforms.images.policy import DecodePolicy
from image_features.transforms.values import Reason

_START = """
import json, sys
sys.path[:] = json.loads(sys.argv[1])
from image_features.transforms.images.child import main
main()
"""
# The child's own alarm should come first; a stopped process has none.
_GRACE_SECONDS = 1.0
_START_SECONDS = 60.0
_ATTEMPTS = 2


class _Child:
    """One process that decodes one file at a time.

    Attributes:
      is_idle: Whether it has answered all that it was asked.
    """

    def __init__(self) -> None:
        path = json.dumps([entry or os.getcwd() for entry in sys.path])
        # A session of its own keeps a terminal's signals from it: its parent decides.
        self._process = subprocess.Popen(
            [sys.executable, "-c", _START, path],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
            # One arena of malloc is enough for one thread, and each takes memory of its own.
            env={**os.environ, "MALLOC_ARENA_MAX": "1", "OMP_NUM_THREADS": "1"},
        )
        self._warm = False
        self.is_idle = True

    def decode(self, data: bytes, policy: DecodePolicy) -> Pixels:
        """Decodes a file.

        Raises:
          DecodeError: the file gives no pixels in the time and memory that it may take.
          EOFError: the process has crashed, or was killed.
        """
        assert self._process.stdin is not None
        self.is_idle = False
        try:
            send(self._process.stdin, policy.to_json(), data)
        except OSError as error:  # It has ended while it waited.
            raise EOFError from error
        seconds = policy.timeout + _GRACE_SECONDS + (0 if self._warm else _START_SECONDS)
        if not self._answers_within(seconds):
            raise _too_slow(policy)
        assert self._process.stdout is not None
        try:
            answer, pixels = receive(self._process.stdout)
        except EOFError:
            if self._process.wait() == -signal.SIGALRM:
                raise _too_slow(policy) from None
            raise
        self._warm = self.is_idle = True
        if "reason" in answer:
            raise DecodeError(Reason(answer["reason"]), answer["message"])
        shape = (*policy.image_size, 3)
        return Pixels(np.frombuffer(pixels, np.uint8).reshape(shape), **answer)

    def close(self) -> int:
        """Ends the process; returns its exit code."""
        self._process.kill()
        for stream in (self._process.stdin, self._process.stdout):
            assert stream is not None
            with contextlib.suppress(OSError):
                stream.close()
        return self._process.wait()

    @property
    def lives(self) -> bool:
        """Whether the process has not ended."""
        return self._process.poll() is None

    def _answers_within(self, seconds: float) -> bool:
        poll = select.poll()
        poll.register(self._process.stdout, select.POLLIN)  # type: ignore[arg-type]
        end = time.monotonic() + seconds
        # A signal's handler may return, and the wait goes on.
        while (left := end - time.monotonic()) > 0:
            if poll.poll(1000 * left):
                return True
        return False


class _Children:
    """The children that wait for work. There are as many as threads have asked at once."""

    def __init__(self) -> None:
        self._idle: list[_Child] = []
        self._lock = threading.Lock()

    def decode(self, data: bytes, policy: DecodePolicy) -> Pixels:
        """Decodes a file in a child; see `decode_in_child`."""
        for _ in range(_ATTEMPTS):
            child = self._take()
            try:
                return child.decode(data, policy)
            except EOFError:
                pass
            finally:
                self._keep(child)
        raise DecodeError(
            Reason.DECODER_CRASHED,
            f"The decoder has crashed on the image {_ATTEMPTS} times, or was killed.",
        )

    def _take(self) -> _Child:
        while True:
            with self._lock:
                if not self._idle:
                    break
                child = self._idle.pop()
            if child.lives:
                return child
            child.close()
        return _Child()

    def _keep(self, child: _Child) -> None:
        """Keeps a child that has answered; ends one that hangs, or whose caller was interrupted."""
        if not child.is_idle:
            child.close()
            return
        with self._lock:
            self._idle.append(child)


_children = _Children()


def decode_in_child(data: bytes, policy: DecodePolicy) -> Pixels:
    """Decodes a file in a child process, and once more where that crashed.

    Raises:
      DecodeError: the file gives no pixels, whatever is wrong with it or whatever it does.
    """
    return _children.decode(data, policy)


def _renew() -> None:
    global _children
    _children = _Children()


# The children of a process are not its fork's.
os.register_at_fork(after_in_child=_renew)


def _too_slow(policy: DecodePolicy) -> DecodeError:
    return DecodeError(
        Reason.TOO_COSTLY,
        f"The image was not decoded within {policy.timeout:g} seconds; see --decode_timeout.",
    )
