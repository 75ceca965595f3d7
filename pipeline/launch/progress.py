"""The progress of a local run: a bar on a terminal, log lines elsewhere."""

from __future__ import annotations

import contextlib
import logging
import sys
import threading
import time
from collections.abc import Callable, Iterator

from image_features.transforms.runtime.progress import Snapshot, read_snapshot

_LOG = logging.getLogger(__name__)
_BAR_SECONDS = 0.5
_LINE_SECONDS = 10.0


@contextlib.contextmanager
def watch(staging: str) -> Iterator[None]:
    """Shows progress while the body runs; a staging directory that is not local shows none."""
    if "://" in staging:
        yield
        return
    stop = threading.Event()
    show = _show_bar if sys.stderr.isatty() else _log_lines
    thread = threading.Thread(target=show, args=(staging, stop), daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(timeout=5)


def _log_lines(staging: str, stop: threading.Event) -> None:
    start = time.monotonic()
    while not stop.wait(_LINE_SECONDS):
        _LOG.info("%s", describe(read_snapshot(staging), time.monotonic() - start))


def describe(snapshot: Snapshot, seconds: float) -> str:
    """Returns a log line: rows, errors, rate and the time left."""
    finished = snapshot.done + snapshot.failed
    rate = finished / seconds if seconds > 0 else 0.0
    text = f"{finished} of {snapshot.total or '?'} images, {snapshot.failed} failed, {rate:.0f}/s"
    if rate and snapshot.total:
        text += f", about {max(0, snapshot.total - finished) / rate:.0f} s left"
    return text


def _show_bar(staging: str, stop: threading.Event) -> None:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("images"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]:.0f}/s, {task.fields[failed]} failed"),
        TimeRemainingColumn(),
    )
    start = time.monotonic()
    # A bar for nothing would stay on the terminal: there may be no rows to show any more.
    while not _something(read_snapshot(staging)):
        if stop.wait(_BAR_SECONDS):
            return
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("images", total=None, rate=0.0, failed=0)
        with _logs_above_the_bar():
            stopped = False
            while not stopped:
                stopped = stop.wait(_BAR_SECONDS)
                snapshot = read_snapshot(staging)
                finished = snapshot.done + snapshot.failed
                if not _something(snapshot):
                    continue
                progress.update(
                    task,
                    completed=finished,
                    total=snapshot.total or None,
                    failed=snapshot.failed,
                    rate=finished / (time.monotonic() - start),
                )


def _something(snapshot: Snapshot) -> bool:
    return bool(snapshot.done or snapshot.failed or snapshot.total)


Report = Callable[[str, int, int], None]


@contextlib.contextmanager
def steps() -> Iterator[Report]:
    """Yields a function that shows how far the work of this process is.

    It takes what is being done, how much of it is done, and of how much, and may be called as often
    as one likes.
    """
    if not sys.stderr.isatty():
        yield _step_lines()
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TaskID,
        TextColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        tasks: dict[str, TaskID] = {}

        def report(step: str, done: int, total: int) -> None:
            if step not in tasks:
                tasks[step] = progress.add_task(step, total=total)
            progress.update(tasks[step], completed=done, total=total)

        with _logs_above_the_bar():
            yield report


def _step_lines() -> Report:
    told: dict[str, float] = {}

    def report(step: str, done: int, total: int) -> None:
        now = time.monotonic()
        if now - told.setdefault(step, now) >= _LINE_SECONDS:
            told[step] = now
            _LOG.info("%s: %d of %d.", step, done, total)

    return report


@contextlib.contextmanager
def _logs_above_the_bar() -> Iterator[None]:
    """Sends log lines where the bar makes room for them, and not into the bar."""
    handlers = [
        (handler, handler.setStream(sys.stderr))  # It is the bar's now.
        for handler in logging.getLogger().handlers
        if type(handler) is logging.StreamHandler
    ]
    try:
        yield
    finally:
        for handler, before in handlers:
            if before is not None:
                handler.setStream(before)
