"""One child process, as its parent sees it: started, asked, and ended where it hangs."""

from __future__ import annotations

import contextlib
import errno
import json
import multiprocessing.spawn
import os
import signal
import socket
import subprocess
import sys
import time
from typing import Any

import numpy as np
import PIL

from image_features.transforms.images.child import FRAME, framed
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
_START_SECONDS = 60.0
# The child's own alarm should come first; a stopped process has none.
_GRACE_SECONDS = 1.0
_ENDING_SECONDS = 5.0
# A timer of zero seconds is none, and none takes an infinite time.
_LEAST_SECONDS, _MOST_SECONDS = 0.001, 1e6
_MOST_TEXT = 2**16
# What a system lacks for a moment, when many files are open or much memory is taken.
SHORTAGES = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN})


class ChildCrashedError(Exception):
    """A child has ended, or has answered what no child answers."""


class LaunchedChild:
    """A process that decodes one file at a time.

    Attributes:
      is_idle: Whether it has answered all that it was asked, and waits for more.

    Raises:
      DecodeError: no child can be started here, with the reason `decoder_unavailable`.
      OSError: none can be started now, since the system lacks something.
    """

    def __init__(self) -> None:
        self.is_idle = False
        self._socket, theirs = socket.socketpair()
        # It would not block where a library has set a default timeout for all sockets.
        theirs.setblocking(True)
        try:
            self._process = _launch(theirs)
        except BaseException:
            self._socket.close()
            raise
        finally:
            theirs.close()
        try:
            self._greet()
        except BaseException:
            self.close()
            raise
        self.is_idle = True

    def decode(self, data: bytes, policy: DecodePolicy, seconds: float) -> Pixels:
        """Decodes a file.

        Args:
          data: The file.
          policy: How it becomes pixels.
          seconds: The time that it may take, at most that of the policy.

        Raises:
          DecodeError: the file gives no pixels in the time and memory that it may take.
          ChildCrashedError: the process has ended, or was killed; the message says how.
        """
        self.is_idle = False
        seconds = min(max(seconds, _LEAST_SECONDS), _MOST_SECONDS)
        end = time.monotonic() + seconds + _GRACE_SECONDS
        job = {"policy": policy.to_json(), "seconds": seconds}
        try:
            self._socket.settimeout(seconds + _GRACE_SECONDS)
            self._socket.sendall(framed(job, len(data)))
            self._socket.sendall(data)
            answer, pixels = self._receive(end, sum(h * w * 3 for h, w in policy.image_sizes))
            if "crash" in answer:
                raise ChildCrashedError(f"by {answer['crash']}")
            result = _failure(answer) or _picture(answer, pixels, policy.image_sizes)
            self.is_idle = not answer["ends"]
        except TimeoutError:
            raise too_slow(policy) from None
        except (EOFError, OSError):
            code = self._ended()
            if code == -signal.SIGALRM:
                raise too_slow(policy) from None
            raise ChildCrashedError(_how_it_ended(code)) from None
        except (ValueError, TypeError, KeyError) as error:
            raise ChildCrashedError("with an answer that makes no sense") from error
        if isinstance(result, DecodeError):
            raise result
        return result

    def close(self) -> None:
        """Ends the process, whatever it does."""
        self._socket.close()
        self._process.kill()
        self._process.wait()

    def forget(self) -> None:
        """Lets go of the process, which is the child of the process that this one is a fork of."""
        self._socket.close()
        self._process.poll()

    @property
    def lives(self) -> bool:
        """Whether the process has not ended."""
        return self._process.poll() is None

    def _greet(self) -> None:
        try:
            self._receive(time.monotonic() + _START_SECONDS, 0)
        except TimeoutError:
            raise _unavailable(f"it was not ready after {_START_SECONDS:g} seconds") from None
        except (EOFError, OSError, ValueError):
            how = _how_it_ended(self._ended())
            raise _unavailable(f"it ended {how}; what it said is in the log") from None

    def _ended(self) -> int:
        """Returns the exit code of a process that has closed its end of the socket."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            return self._process.wait(_ENDING_SECONDS)
        self.close()
        return self._process.wait()

    def _receive(self, end: float, most: int) -> tuple[dict[str, Any], bytes]:
        """Reads a frame whose payload is empty or has so many bytes.

        Raises:
          TimeoutError: it has not come in time.
          EOFError, OSError: the process has ended.
          ValueError: what came is no frame.
        """
        # An answer that is there counts, though this process may have been stopped for a while.
        head = self._exactly(FRAME.size, max(end, time.monotonic() + _LEAST_SECONDS))
        length, size = FRAME.unpack(head)
        if length > _MOST_TEXT or size not in (0, most):
            raise ValueError(f"a frame of {length} and {size} bytes")
        end = max(end, time.monotonic() + _GRACE_SECONDS)
        message = json.loads(self._exactly(length, end))
        if not isinstance(message, dict):
            raise ValueError(f"a frame of a {type(message).__name__}")
        return message, self._exactly(size, end)

    def _exactly(self, size: int, end: float) -> bytes:
        data = bytearray(size)
        view = memoryview(data)
        while view:
            left = end - time.monotonic()
            if left <= 0:
                raise TimeoutError
            self._socket.settimeout(left)
            count = self._socket.recv_into(view)
            if not count:
                raise EOFError
            view = view[count:]
        return bytes(data)


def too_slow(policy: DecodePolicy) -> DecodeError:
    """Returns the failure of an image that took longer than it may."""
    return DecodeError(
        Reason.TOO_COSTLY,
        f"The image was not decoded within {policy.timeout:g} seconds; see --decode_timeout.",
    )


def _launch(theirs: socket.socket) -> subprocess.Popen[bytes]:
    executable = multiprocessing.spawn.get_executable()
    if isinstance(executable, bytes):
        executable = os.fsdecode(executable)
    if not executable or (getattr(sys, "frozen", False) and executable == sys.executable):
        raise _unavailable("this program has no interpreter of Python to start")
    # Neither a module in the working directory nor a warning has a place there.
    flags = ["-I" if sys.flags.isolated else "-P", "-W", "ignore"]
    try:
        return subprocess.Popen(
            [executable, *flags, "-c", _START, json.dumps(_path())],
            stdin=theirs.fileno(),
            stdout=subprocess.DEVNULL,
            cwd="/",
            # A session of its own keeps a terminal's signals from it.
            start_new_session=True,
            # One arena of malloc is enough for one thread, and each takes memory of its own.
            env={**os.environ, "MALLOC_ARENA_MAX": "1", "OMP_NUM_THREADS": "1"},
        )
    except OSError as error:
        if error.errno in SHORTAGES:
            raise
        raise _unavailable(f"{executable} cannot be started: {error.strerror}") from error
    except RuntimeError as error:  # It is too late for that when the interpreter ends.
        raise _unavailable(str(error)) from error


def _path() -> list[str]:
    """Returns the directories of modules, without those that depend on the working directory.

    What this process has imported from there is found by where it is.
    """
    here = [entry for entry in sys.path if isinstance(entry, str) and os.path.isabs(entry)]
    packages = (sys.modules[__name__.partition(".")[0]], PIL, np)
    return here + [os.path.dirname(os.path.dirname(str(package.__file__))) for package in packages]


def _unavailable(why: str) -> DecodeError:
    return DecodeError(
        Reason.DECODER_UNAVAILABLE,
        f"The process that decodes images of this kind does not start: {why}.",
    )


def _failure(answer: dict[str, Any]) -> DecodeError | None:
    if "reason" not in answer:
        return None
    return DecodeError(Reason(answer["reason"]), str(answer["message"]))


def _picture(answer: dict[str, Any], pixels: bytes, sizes: tuple[tuple[int, int], ...]) -> Pixels:
    values, arrays = np.frombuffer(pixels, np.uint8), []
    for height, width in sizes:
        taken = height * width * 3
        arrays.append(values[:taken].reshape(height, width, 3))
        values = values[taken:]
    first, *further = arrays
    width, height = int(answer["width"]), int(answer["height"])
    return Pixels(first, str(answer["format"]), width, height, tuple(further))


def _how_it_ended(code: int) -> str:
    if code == -signal.SIGKILL:
        return "by SIGKILL, as where a machine has no memory left"
    if code < 0:
        return f"by {signal.Signals(-code).name}"
    return f"with exit code {code}"
