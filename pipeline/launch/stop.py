"""The ends of a launch that come from outside: signals, and a deadline."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator

from image_features.errors import EXIT_FAILED
from image_features.pipeline.terminal import PROGRAM, shown

_TELLING_SECONDS = 6.0


@contextlib.contextmanager
def stopped_by_signals(
    *, local: bool, advice: str = "", tell: Callable[[int], object] = lambda code: None
) -> Iterator[None]:
    """Ends the process on Ctrl-C or SIGTERM while the body runs.

    A local run ends at once, since the runner would take an exception for a failing row's, and
    its threads cannot be joined. Nothing need be saved: without run.json no reader sees the run.
    A job elsewhere goes on, as Beam's users are used to; whatever this process started for it,
    such as a job server, is stopped.

    Args:
      local: Whether the job runs in this process.
      advice: A line that tells how to go on with the run; empty for none.
      tell: A function that is called with the exit code when a signal ends a local run; it is
        given a few seconds.
    """

    def stop(number: int, _: object) -> None:
        if local:
            _say("interrupted; the run is not committed.", advice)
            for again in (signal.SIGINT, signal.SIGTERM):  # A second one does not wait.
                signal.signal(again, lambda number, _: os._exit(128 + number))
            # This thread may hold locks that it needs.
            telling = threading.Thread(target=tell, args=(128 + number,), daemon=True)
            telling.start()
            telling.join(_TELLING_SECONDS)
            os._exit(128 + number)
        _say("interrupted; a job that was submitted goes on.")
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
            _say(*sentence.splitlines())
            os._exit(EXIT_FAILED)

    timer = threading.Timer(max(0.0, deadline - time.monotonic()), stop)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _say(*lines: str) -> None:
    """Writes lines past Python's own streams, whose locks another thread may hold."""
    text = "".join(f"{PROGRAM}: {line}\n" for line in map(shown, lines) if line)
    with contextlib.suppress(OSError):  # Nobody may be listening any more.
        os.write(2, text.encode(errors="backslashreplace"))
