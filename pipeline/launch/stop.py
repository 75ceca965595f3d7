"""The ends of a launch that come from outside: signals, and a deadline."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator

from image_features.errors import EXIT_FAILED


@contextlib.contextmanager
def stopped_by_signals(*, local: bool) -> Iterator[None]:
    """Ends the process on Ctrl-C or SIGTERM while the body runs.

    A local run ends at once, since the runner would take an exception for a failing row's, and
    its threads cannot be joined. Nothing need be saved: without run.json no reader sees the run.
    A job elsewhere goes on, as Beam's users are used to; whatever this process started for it,
    such as a job server, is stopped.

    Args:
      local: Whether the job runs in this process.
    """

    def stop(number: int, _: object) -> None:
        if local:
            _write(b"interrupted; the run is not committed.")
            os._exit(128 + number)
        _write(b"interrupted; a job that was submitted goes on.")
        raise SystemExit(128 + number)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def stopped_in_time(deadline: float, say: Callable[[], str | None]) -> Iterator[None]:
    """Ends the process at its deadline, since a local run can be stopped in no other way.

    Args:
      deadline: The time.monotonic() at which the process ends.
      say: A function that is called at the deadline. It returns what to say on stderr, or None
        where the run has been committed after all and may end by itself.
    """

    def stop() -> None:
        sentence = say()
        if sentence is not None:
            _write(sentence.encode(errors="backslashreplace"))
            os._exit(EXIT_FAILED)

    timer = threading.Timer(max(0.0, deadline - time.monotonic()), stop)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _write(sentence: bytes) -> None:
    """Writes to standard error as a signal handler may: its buffer may be in use just now."""
    with contextlib.suppress(OSError):
        os.write(2, b"image-features: " + sentence + b"\n")
